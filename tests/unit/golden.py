#!/usr/bin/env python3
"""Make C tables of what is in golden.json.

golden.py golden.json > golden.h

The file has the numbers that MXNet's formulas give for three updates, and how
MXNet cuts values and spreads them over servers. Where 1.x and 2.x differ, the
table of updates has 1.x's.
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
    if isinstance(values, int):
        return repr(values)
    return "NAN" if values != values else repr(values) + suffix


def updates(golden):
    """Weights and state."""
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


def cuts(name, parts):
    """How MXNet cuts values, {"SIZE/SERVERS": sizes}."""
    print(f"\nstatic const struct golden_cut {name}[] = {{")
    for label, sizes in parts.items():
        size, servers = label.split("/")
        print(f"    {{{size}, {servers}, {array(sizes)}}},")
    print("};")


def placement(golden):
    """Where MXNet puts whole keys, and slices of its P3 store."""
    keys = golden["small_key_server"]
    count = len(next(iter(keys.values())))
    print(f"""
#define GOLDEN_KEYS {count}

static const struct {{
    unsigned servers;
    unsigned server[GOLDEN_KEYS]; /* Of keys 0, 1, ... */
}} golden_places[] = {{""")
    for servers, places in keys.items():
        print(f"    {{{servers}, {array(places)}}},")
    print("};")

    p3 = golden["p3"]
    slices = p3["slices(server,pskey_offset,elems)"]
    flat = [[key, elems] for key, cut in enumerate(slices)
            for _, _, elems in cut]
    print(f"""
#define GOLDEN_P3_SERVERS {p3["S"]}
#define GOLDEN_P3_SLICE {max(elems for _, elems in flat)}

static const unsigned long long golden_p3_keys[] = {array(p3["sizes"])};

static const struct {{
    unsigned key;
    unsigned long long size;
}} golden_p3_slices[] = {array(flat)};""")


def main():
    """Write the tables."""
    with open(sys.argv[1], encoding="ascii") as file:
        golden = json.load(file)
    updates(golden["optimizers"])
    print("""
struct golden_cut {
    unsigned long long size;
    unsigned servers;
    unsigned long long part[8]; /* The servers' in order. */
};""")
    cuts("golden_dense", golden["dense_parts"])
    cuts("golden_rows", golden["rowsparse_rows"])
    placement(golden)


main()
