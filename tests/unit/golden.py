#!/usr/bin/env python3
"""Make a C table of the optimizer results in golden.json.

golden.py golden.json > golden.h

The file has the numbers that MXNet's formulas give for three updates. Where
MXNet 1.x and 2.x differ, the table has 1.x's.
"""
import json
import sys

PARAMS = {
    "lr": "learning_rate",
    "rescale": "rescale_grad",
    "clip": "clip_gradient",
    "mu": "momentum",
    "b1": "beta1",
    "b2": "beta2",
    "eps": "epsilon",
}

# Where an optimizer has another name for a parameter, or none.
OWN_PARAMS = {
    "adadelta": {"lr": None},
    "adagrad": {"eps": "eps"},
    "adamax": {"eps": None},
    "lars": {"eps": "eps"},
    "rmsprop": {"rho": "gamma1", "mu": "gamma2"},
}


def params(label, values):
    """A label such as "rmsprop centered 1.x" and MXNet's short names."""
    words = label.split()
    names = {**PARAMS, **OWN_PARAMS.get(words[0], {})}
    pairs = [(names.get(k, k), float(v)) for k, v in values.items()]
    if "centered" in words:
        pairs.append(("centered", 1))
    return ",".join(f"{k}={v:.9g}" for k, v in pairs if k is not None)


def states(label, result):
    """The state in 1.x's order: the file has rmsprop's in 2.x's.

    Once a weight is NaN its state says nothing any more, even if a number.
    """
    slots = result["state_after_last"] or []
    if "centered" in label.split():
        mean, square, velocity = slots
        slots = [square, mean, velocity]
    last = result["w_after_steps"][-1]
    return [[s if w == w else w for w, s in zip(last, slot)] for slot in slots]


def array(values, suffix=""):
    """A C initializer of a number or of lists of them."""
    if isinstance(values, list):
        return "{" + ", ".join(array(v, suffix) for v in values) + "}"
    return "NAN" if values != values else repr(float(values)) + suffix


def main():
    """Write the table."""
    with open(sys.argv[1], encoding="ascii") as file:
        golden = json.load(file)["optimizers"]
    results = golden["results"]
    old = {label.split()[0] for label in results if "1.x" in label}
    grads = golden["grads"]

    print(f"""/* Made from golden.json. */
#include <math.h>

struct golden {{
    const char *label, *name, *params;
    unsigned slots;
    double weight[{len(grads)}][{len(grads[0])}]; /* After each update. */
    double slot[{len(grads)}][{len(grads[0])}];   /* After the last. */
}};

static const float golden_start[] = {array(golden["w0"], "f")};
static const float golden_gradient[][{len(grads[0])}] = {array(grads, "f")};

static const struct golden goldens[] = {{""")
    for label, result in results.items():
        name = label.split()[0]
        if name in old and "1.x" not in label:
            continue
        slots = states(label, result)
        print(f'    {{"{label}", "{name}", "{params(label, result["hp"])}",')
        print(f"     {len(slots)},")
        print(f"     {array(result['w_after_steps'])},")
        print(f"     {array(slots or [[0]])}}},")
    print("};")


main()
