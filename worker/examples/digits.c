/**
 * digits - train a small network on handwritten digits, with any number of
 * workers and servers.
 *
 *     kvlaunch -n 4 -s 2 -- digits --data worker/examples/digits.csv
 *
 * 64 pixels -> hidden layer (ReLU) -> 10 classes (softmax, cross-entropy).
 * Every 5th line of the data is for testing; of the others, each of n workers
 * takes every n-th. Each step, a worker computes the gradient of its batch and
 * calls kvw_pushpull(): the servers sum the gradients of all workers, apply the
 * optimizer and answer with the new weights.
 *
 * With dist_sync, the same options give the same weights to the last bit,
 * whatever happens to the servers meanwhile. The last line has a hash of them.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kvworker.h>

enum { PIXELS = 64, CLASSES = 10, PARTS = 4, TEST_EVERY = 5 };

struct options {
    const char *kind, *optimizer, *lr, *data;
    long epochs, batch, hidden, seed;
};

struct digit {
    float pixels[PIXELS]; /* 0 to 1 */
    int label;
};

struct dataset {
    struct digit *train, *test; /* train: this worker's shard. */
    size_t train_count, test_count;
    size_t train_total; /* Over all workers. */
};

/* What the servers know by a name: the values, and our gradient. */
struct part {
    const char *name;
    size_t count;
    float *value, *gradient;
    struct kvw_tensor value_tensor, gradient_tensor;
};

struct model {
    size_t hidden;
    struct part parts[PARTS]; /* fc1.weight, fc1.bias, fc2.weight, fc2.bias */
    struct kvw_item values[PARTS], gradients[PARTS]; /* The same, as items. */
    float *activation, *delta;                       /* Of the hidden layer. */
    float output[CLASSES]; /* Probabilities, then their error. */
};

struct run {
    struct options options;
    struct dataset data;
    struct model model;
    struct kvw *kv;
    size_t rounds;
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "digits: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static void check(const struct kvw *kv, int status, const char *what)
{
    if (status != KVW_OK) {
        fail(what, kvw_error(kv));
    }
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (memory == NULL) {
        fail("memory", "there is not enough");
    }
    return memory;
}

/* splitmix64 (Steele, Lea, Flood, 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* --- Data ----------------------------------------------------------------- */

static bool parse_digit(char *line, struct digit *d)
{
    char *at = line;

    for (int i = 0; i <= PIXELS; i++) {
        char *end;
        long number = strtol(at, &end, 10);

        if (end == at || number < 0 || number > 16) {
            return false;
        }
        if (i < PIXELS) {
            d->pixels[i] = (float)number / 16.0f;
        } else {
            d->label = (int)number;
        }
        at = *end == ',' ? end + 1 : end;
    }
    return d->label < CLASSES;
}

/* All of the file; the caller frees. */
static struct digit *read_digits(const char *path, size_t *count)
{
    FILE *file = fopen(path, "r");
    struct digit *digits = NULL;
    char line[1024];

    if (file == NULL) {
        fail(path, "cannot be opened; --data names digits.csv");
    }
    for (*count = 0; fgets(line, sizeof(line), file) != NULL; (*count)++) {
        digits = realloc(digits, (*count + 1) * sizeof(*digits));
        if (digits == NULL || !parse_digit(line, &digits[*count])) {
            fail(path, "has a line that is not 64 pixels and a label");
        }
    }
    fclose(file);
    return digits;
}

static void load(struct dataset *data, const char *path, size_t rank,
                 size_t workers)
{
    size_t count;
    struct digit *digits = read_digits(path, &count);

    data->train = allocate(count + 1, sizeof(*digits));
    data->test = allocate(count + 1, sizeof(*digits));
    for (size_t i = 0; i < count; i++) {
        if (i % TEST_EVERY == 0) {
            data->test[data->test_count++] = digits[i];
        } else if (data->train_total++ % workers == rank) {
            data->train[data->train_count++] = digits[i];
        }
    }
    free(digits);
}

/* The same order for the same seed. */
static void shuffle(struct dataset *data, uint64_t seed)
{
    for (size_t i = data->train_count - 1; i > 0; i--) {
        size_t j = (size_t)(next_random(&seed) % (i + 1));
        struct digit swapped = data->train[i];

        data->train[i] = data->train[j];
        data->train[j] = swapped;
    }
}

/* --- Network -------------------------------------------------------------- */

static void part_init(struct part *p, const char *name, size_t rows,
                      size_t columns, uint64_t *seed)
{
    size_t count = columns > 0 ? rows * columns : rows;
    float range = columns > 0 ? sqrtf(6.0f / (float)rows) : 0.0f;

    p->name = name;
    p->count = count;
    p->value = allocate(count, sizeof(float));
    p->gradient = allocate(count, sizeof(float));
    for (size_t i = 0; i < count; i++) {
        float unit = (float)(next_random(seed) >> 40) / (float)(1 << 24);

        p->value[i] = range * (2.0f * unit - 1.0f);
    }
    p->value_tensor = kvw_f32(p->value, count);
    p->gradient_tensor = kvw_f32(p->gradient, count);
    if (columns > 0) {
        p->value_tensor.dims = p->gradient_tensor.dims = 2;
        p->value_tensor.shape[0] = p->gradient_tensor.shape[0] = rows;
        p->value_tensor.shape[1] = p->gradient_tensor.shape[1] = columns;
    }
}

static void model_init(struct model *m, size_t hidden, uint64_t seed)
{
    m->hidden = hidden;
    part_init(&m->parts[0], "fc1.weight", PIXELS, hidden, &seed);
    part_init(&m->parts[1], "fc1.bias", hidden, 0, &seed);
    part_init(&m->parts[2], "fc2.weight", hidden, CLASSES, &seed);
    part_init(&m->parts[3], "fc2.bias", CLASSES, 0, &seed);
    m->activation = allocate(hidden, sizeof(float));
    m->delta = allocate(hidden, sizeof(float));
    for (int i = 0; i < PARTS; i++) {
        const struct part *p = &m->parts[i];

        m->values[i] = (struct kvw_item){kvw_str(p->name), &p->value_tensor, 1};
        m->gradients[i] =
            (struct kvw_item){kvw_str(p->name), &p->gradient_tensor, 1};
    }
}

static void model_fini(struct model *m)
{
    for (int i = 0; i < PARTS; i++) {
        free(m->parts[i].value);
        free(m->parts[i].gradient);
    }
    free(m->activation);
    free(m->delta);
}

/* to += scale * from */
static void add_scaled(float *restrict to, const float *restrict from,
                       float scale, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        to[i] += scale * from[i];
    }
}

/* Probabilities of the classes, from the outputs. */
static void softmax(float *output)
{
    float largest = output[0], sum = 0.0f;

    for (int c = 1; c < CLASSES; c++) {
        largest = fmaxf(largest, output[c]);
    }
    for (int c = 0; c < CLASSES; c++) {
        output[c] = expf(output[c] - largest);
        sum += output[c];
    }
    for (int c = 0; c < CLASSES; c++) {
        output[c] /= sum;
    }
}

static void forward(struct model *m, const struct digit *d)
{
    const float *weight1 = m->parts[0].value, *weight2 = m->parts[2].value;

    memcpy(m->activation, m->parts[1].value, m->hidden * sizeof(float));
    for (size_t i = 0; i < PIXELS; i++) {
        add_scaled(m->activation, weight1 + i * m->hidden, d->pixels[i],
                   m->hidden);
    }
    memcpy(m->output, m->parts[3].value, sizeof(m->output));
    for (size_t h = 0; h < m->hidden; h++) {
        m->activation[h] = fmaxf(m->activation[h], 0.0f);
        add_scaled(m->output, weight2 + h * CLASSES, m->activation[h], CLASSES);
    }
    softmax(m->output);
}

/* After forward(): add this digit's gradient, times `scale`; its loss. */
static float backward(struct model *m, const struct digit *d, float scale)
{
    const float *weight2 = m->parts[2].value;
    float *gradient1 = m->parts[0].gradient, *gradient2 = m->parts[2].gradient;
    float loss = -logf(fmaxf(m->output[d->label], 1e-30f));

    m->output[d->label] -= 1.0f;
    add_scaled(m->parts[3].gradient, m->output, scale, CLASSES);
    for (size_t h = 0; h < m->hidden; h++) {
        float sum = 0.0f;

        for (size_t c = 0; c < CLASSES; c++) {
            sum += weight2[h * CLASSES + c] * m->output[c];
        }
        m->delta[h] = m->activation[h] > 0.0f ? sum : 0.0f;
        add_scaled(gradient2 + h * CLASSES, m->output, scale * m->activation[h],
                   CLASSES);
    }
    add_scaled(m->parts[1].gradient, m->delta, scale, m->hidden);
    for (size_t i = 0; i < PIXELS; i++) {
        add_scaled(gradient1 + i * m->hidden, m->delta, scale * d->pixels[i],
                   m->hidden);
    }
    return loss;
}

static double accuracy(struct model *m, const struct dataset *data)
{
    size_t right = 0;

    for (size_t i = 0; i < data->test_count; i++) {
        int best = 0;

        forward(m, &data->test[i]);
        for (int c = 1; c < CLASSES; c++) {
            best = m->output[c] > m->output[best] ? c : best;
        }
        right += best == data->test[i].label;
    }
    return (double)right / (double)data->test_count;
}

/* FNV-1a, 64 bits, over the weights' bytes. */
static uint64_t hash_weights(const struct model *m)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (int i = 0; i < PARTS; i++) {
        const unsigned char *bytes = (const void *)m->parts[i].value;

        for (size_t n = 0; n < m->parts[i].count * sizeof(float); n++) {
            hash = (hash ^ bytes[n]) * UINT64_C(0x100000001b3);
        }
    }
    return hash;
}

/* --- Training ------------------------------------------------------------- */

/* The sum over all workers of what this adds up to is the mean gradient. */
static double step(struct run *r, const struct digit *batch)
{
    struct model *m = &r->model;
    size_t size = (size_t)r->options.batch;
    float scale = 1.0f / (float)(size * (size_t)kvw_num_workers(r->kv));
    double loss = 0;

    for (int i = 0; i < PARTS; i++) {
        memset(m->parts[i].gradient, 0, m->parts[i].count * sizeof(float));
    }
    for (size_t i = 0; i < size; i++) {
        forward(m, &batch[i]);
        loss += (double)backward(m, &batch[i], scale);
    }
    check(r->kv,
          kvw_pushpull(r->kv, m->gradients, m->values, PARTS, NULL, NULL),
          "pushpull");
    check(r->kv, kvw_wait_all(r->kv, KVW_FOREVER), "pushpull");
    r->rounds++;
    return loss / (double)size;
}

/* Rank 0 alone speaks for the job: the optimizer, and its rate. */
static void begin(struct run *r)
{
    const char *name = r->options.optimizer;
    bool sgd = strcmp(name, "sgd") == 0;
    char params[64];

    check(r->kv, kvw_broadcast(r->kv, r->model.values, NULL, PARTS),
          "broadcast");
    if (kvw_rank(r->kv) == 0) {
        snprintf(params, sizeof(params), "lr=%s%s", r->options.lr,
                 sgd ? ",momentum=0.9" : "");
        check(r->kv, kvw_set_optimizer(r->kv, name, params), "optimizer");
    }
    check(r->kv, kvw_barrier(r->kv, KVW_FOREVER), "barrier");
}

static void train(struct run *r)
{
    const struct options *o = &r->options;
    size_t workers = (size_t)kvw_num_workers(r->kv);
    size_t batch = (size_t)o->batch;
    size_t steps = r->data.train_total / workers / batch;
    uint64_t seed = (uint64_t)o->seed + 1000003 * (uint64_t)kvw_rank(r->kv);
    long report_every = o->epochs > 10 ? o->epochs / 10 : 1;

    if (steps == 0) {
        fail("--batch", "larger than a worker's share of the data");
    }
    for (long epoch = 1; epoch <= o->epochs; epoch++) {
        double loss = 0, lr = strtod(o->lr, NULL);

        if (kvw_rank(r->kv) == 0 && epoch == o->epochs - o->epochs / 3 + 1) {
            check(r->kv, kvw_set_hyper(r->kv, NULL, "lr", lr / 10, 0), "lr");
        }
        shuffle(&r->data, seed + (uint64_t)epoch);
        for (size_t s = 0; s < steps; s++) {
            loss += step(r, r->data.train + s * batch);
        }
        if (kvw_rank(r->kv) == 0 && epoch % report_every == 0) {
            printf("epoch %ld: loss %.4f (of rank 0's data), "
                   "test accuracy %.3f\n",
                   epoch, loss / (double)steps, accuracy(&r->model, &r->data));
            fflush(stdout);
        }
    }
}

/* With dist_async, others may be ahead: fetch what all have led to. */
static void finish(struct run *r, double seconds)
{
    struct kvw_stats stats;

    check(r->kv, kvw_barrier(r->kv, KVW_FOREVER), "barrier");
    check(r->kv, kvw_pull(r->kv, r->model.values, PARTS, NULL, NULL), "pull");
    check(r->kv, kvw_wait_all(r->kv, KVW_FOREVER), "pull");
    check(r->kv, kvw_get_stats(r->kv, &stats, sizeof(stats)), "stats");
    if (kvw_rank(r->kv) == 0) {
        printf("%d workers, %d servers, %zu rounds, %.1f s, %.1f MB moved by "
               "rank 0, test accuracy %.3f\n",
               kvw_num_workers(r->kv), kvw_num_servers(r->kv), r->rounds,
               seconds, (double)(stats.bytes_sent + stats.bytes_received) / 1e6,
               accuracy(&r->model, &r->data));
        printf("weights fnv1a64 %016llx\n",
               (unsigned long long)hash_weights(&r->model));
    }
}

/* --- Command line --------------------------------------------------------- */

static const char usage[] =
    "usage: kvlaunch -n WORKERS -s SERVERS -- digits [options]\n"
    "  --data FILE       worker/examples/digits.csv by default\n"
    "  --kind KIND       dist_sync (default), dist_async, local (no servers)\n"
    "  --optimizer NAME  sgd (default) or adam\n"
    "  --lr RATE         0.1; a tenth of it in the last third\n"
    "  --epochs N        30\n"
    "  --batch N         per worker, 16\n"
    "  --hidden N        hidden units, 128\n"
    "  --seed N          1\n";

/* "--name value" pairs into the fields. */
static void parse(int argc, char **argv, struct options *o)
{
    const struct {
        const char *name;
        const char **text; /* One of the two. */
        long *number;
    } table[] = {
        {"--data", &o->data, NULL},           {"--kind", &o->kind, NULL},
        {"--optimizer", &o->optimizer, NULL}, {"--lr", &o->lr, NULL},
        {"--epochs", NULL, &o->epochs},       {"--batch", NULL, &o->batch},
        {"--hidden", NULL, &o->hidden},       {"--seed", NULL, &o->seed},
    };
    const size_t known = sizeof(table) / sizeof(table[0]);

    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        size_t t = 0;

        while (t < known && strcmp(argv[i], table[t].name) != 0) {
            t++;
        }
        if (t == known) {
            if (strcmp(argv[i], "--help") != 0) {
                fail(argv[i], "is no option; --help lists them");
            }
            fputs(usage, stdout);
            exit(EXIT_SUCCESS);
        }
        if (table[t].text != NULL) {
            *table[t].text = value;
        } else if ((*table[t].number = strtol(value, NULL, 10)) < 1) {
            fail(argv[i], "needs a number from 1");
        }
    }
}

static double now(void)
{
    struct timespec t;

    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    struct run r = {.options = {"dist_sync", "sgd", "0.1",
                                "worker/examples/digits.csv", 30, 16, 128, 1}};

    parse(argc, argv, &r.options);
    check(NULL, kvw_open(&r.kv, r.options.kind, NULL), "open");
    load(&r.data, r.options.data, (size_t)kvw_rank(r.kv),
         (size_t)kvw_num_workers(r.kv));
    model_init(&r.model, (size_t)r.options.hidden, (uint64_t)r.options.seed);
    begin(&r);
    double started = now();
    train(&r);
    finish(&r, now() - started);
    kvw_close(r.kv);
    model_fini(&r.model);
    free(r.data.train);
    free(r.data.test);
    return EXIT_SUCCESS;
}
