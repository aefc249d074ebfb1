/**
 * words - find out which words are alike, from the company they keep, with any
 * number of workers and servers.
 *
 *     kvlaunch -n 2 -s 2 -- words
 *
 * Skip-gram with negative sampling (Mikolov et al., 2013). Two tables have a
 * row of numbers for every word: "middle" for when it stands in the middle of
 * a few others, "beside" for when it is one of those. Each step, a worker pulls
 * the rows that its next piece of text needs (kvw_row_sparse_pull) and pushes
 * gradients of the same rows, which make the product of two rows larger where
 * the words stand together, and smaller for words drawn by chance. No other row
 * travels, and adagrad on the servers leaves those as they are.
 *
 * The text is the King James Bible, from the Debian package bible-kjv, or any
 * file; each of n workers begins at another n-th of it. With dist_sync, the
 * same options give the same numbers to the last bit; the end has their hash.
 */
#include <ctype.h>
#include <math.h>
#include <search.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <kvworker.h>

enum {
    DIM = 64,  /* Numbers in a row. */
    REACH = 3, /* A word's company: at most so many words on each side. */
    DRAWN = 5, /* Words drawn by chance for each of those, */
    POOL = 256 /* from among so many, drawn for a whole step. */
};
enum { RARE = 50, NEAREST = 6, WORDS_MAX = 200000 };
enum { MIDDLE, BESIDE, TABLES };
#define BIBLE "bible -f Gen1:1-Rev22:21 </dev/null"

struct option {
    const char *name, *what;
    char *value;
};

struct word {
    const char *letters;
    size_t count; /* In all of the text. */
};

struct text {
    struct word *words; /* In order of appearance. */
    int32_t *ids;       /* All of the text, as numbers of words. */
    size_t word_count, count;
};

/* Rows of a table: those that a step needs, or all. */
struct table {
    float *value, *gradient;
    int64_t *rows;
    size_t *place; /* Of each word: where its row begins in the two. */
    struct kvw_tensor values, gradients;
};

struct run {
    size_t batch;
    struct text text;
    struct table tables[TABLES];
    struct kvw_item values[TABLES], pushes[TABLES]; /* As items. */
    struct kvw *kv;
    int32_t *ids; /* What this step looks at, then the pool. */
    size_t count;
    size_t at; /* Where the next step begins. */
    uint64_t chance;
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "words: %s: %s\n", what, why);
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

/* From 0 to 1. */
static float next_fraction(uint64_t *state)
{
    return (float)(next_random(state) >> 40) * 0x1p-24f;
}

/* --- Text ----------------------------------------------------------------- */

/* All of the file, or without one all that the program `bible` prints. */
static char *read_text(const char *path)
{
    FILE *file = *path != 0 ? fopen(path, "r") : popen(BIBLE, "r");
    char *all = NULL;
    size_t room = 0;

    if (file == NULL || getdelim(&all, &room, 0, file) <= 0) {
        fail(*path != 0 ? path : BIBLE,
             "there is no text; install the package bible-kjv, or name another "
             "text with --text");
    }
    *path != 0 ? fclose(file) : pclose(file);
    return all;
}

/* The word's number; the first time, it gets the next one. */
static int32_t look_up(struct text *t, char *letters)
{
    ENTRY entry = {letters, &t->words[t->word_count]};
    ENTRY *found = hsearch(entry, t->word_count < WORDS_MAX ? ENTER : FIND);

    if (found == NULL) {
        fail("--text", "has too many different words");
    }
    struct word *w = found->data;
    w->letters = letters;
    t->word_count += w->count++ == 0;
    return (int32_t)(w - t->words);
}

/* Words are runs of letters; those with a digit in them are passed over. */
static void cut(struct text *t, char *all)
{
    t->words = allocate(WORDS_MAX + 1, sizeof(*t->words));
    t->ids = allocate(strlen(all) / 2 + 1, sizeof(*t->ids));
    if (hcreate(2 * WORDS_MAX) == 0) {
        fail("memory", "there is not enough");
    }
    for (char *c = all; *c != 0; c++) {
        unsigned char byte = (unsigned char)*c;

        if (byte < 0x80) {
            *c = isalnum(byte) ? (char)tolower(byte) : ' ';
        }
    }
    for (char *w = strtok(all, " "); w != NULL; w = strtok(NULL, " ")) {
        if (strpbrk(w, "0123456789") == NULL) {
            t->ids[t->count++] = look_up(t, w);
        }
    }
    if (t->count == 0) {
        fail("--text", "has no words");
    }
}

/* --- A step --------------------------------------------------------------- */

/* Frequent words say little: most of their places are passed over. */
static bool passed_over(struct run *r, int32_t id)
{
    float often = (float)r->text.words[id].count / (float)r->text.count;

    return next_fraction(&r->chance) > sqrtf(5e-4f / often);
}

/* The next piece of the text, and a pool of words from anywhere in it. */
static void choose(struct run *r)
{
    const struct text *t = &r->text;
    size_t pool = 0;

    r->count = 0;
    for (size_t i = 0; i < r->batch; i++) {
        if (!passed_over(r, t->ids[r->at])) {
            r->ids[r->count++] = t->ids[r->at];
        }
        r->at = (r->at + 1) % t->count;
    }
    while (pool < POOL) {
        r->ids[r->count + pool] = t->ids[next_random(&r->chance) % t->count];
        pool += !passed_over(r, r->ids[r->count + pool]);
    }
}

/* Fetch the rows of the words chosen. The last push is then done, too. */
static void pull(struct run *r)
{
    const struct kvw_row_ids ids[TABLES] = {{r->ids, KVW_I32, r->count},
                                            {r->ids, KVW_I32, r->count + POOL}};
    struct kvw_row_pull pulls[TABLES];

    for (int i = 0; i < TABLES; i++) {
        struct table *t = &r->tables[i];

        t->values.rows = t->rows;
        t->values.row_count = r->text.word_count; /* There is room for all. */
        pulls[i] =
            (struct kvw_row_pull){r->values[i].key, &t->values, 1, &ids[i], 1};
    }
    check(r->kv, kvw_row_sparse_pull(r->kv, pulls, TABLES, NULL, NULL), "pull");
    check(r->kv, kvw_wait_all(r->kv, KVW_FOREVER), "pull");
    for (int i = 0; i < TABLES; i++) {
        struct table *t = &r->tables[i];

        t->gradients.row_count = t->values.row_count;
        memset(t->gradient, 0, t->values.row_count * DIM * sizeof(float));
        for (size_t n = 0; n < t->values.row_count; n++) {
            t->place[t->rows[n]] = n * DIM;
        }
    }
}

static float product(const float *restrict a, const float *restrict b)
{
    float sums[8] = {0};

    for (size_t i = 0; i < DIM; i += 8) {
        for (size_t k = 0; k < 8; k++) {
            sums[k] += a[i + k] * b[i + k];
        }
    }
    return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] +
           sums[7];
}

/* Do these stand together? The loss of saying so as their product does. */
static float compare(struct run *r, int32_t middle, int32_t beside, bool does)
{
    struct table *m = &r->tables[MIDDLE], *b = &r->tables[BESIDE];
    const float *x = m->value + m->place[middle];
    const float *y = b->value + b->place[beside];
    float *restrict dx = m->gradient + m->place[middle];
    float *restrict dy = b->gradient + b->place[beside];
    float guess = 1 / (1 + expf(-product(x, y)));
    float error = guess - (does ? 1 : 0);

    for (size_t i = 0; i < DIM; i++) {
        dx[i] += error * y[i];
        dy[i] += error * x[i];
    }
    return -logf(fmaxf(does ? guess : 1 - guess, 1e-30f));
}

/* A word that stands beside another, and some that were drawn. */
static float learn_pair(struct run *r, int32_t middle, int32_t beside)
{
    float loss = compare(r, middle, beside, true);

    for (int i = 0; i < DRAWN; i++) {
        int32_t drawn = r->ids[r->count + next_random(&r->chance) % POOL];

        loss += drawn != beside ? compare(r, middle, drawn, false) : 0;
    }
    return loss;
}

/* The step's gradients; returns the mean loss of its pairs. */
static double learn(struct run *r)
{
    double loss = 0;
    size_t pairs = 0;

    for (size_t i = 0; i < r->count; i++) {
        size_t reach = 1 + next_random(&r->chance) % REACH;

        for (size_t j = i > reach ? i - reach : 0;
             j < r->count && j <= i + reach; j++) {
            if (j != i) {
                loss += (double)learn_pair(r, r->ids[i], r->ids[j]);
                pairs++;
            }
        }
    }
    return pairs > 0 ? loss / (double)pairs : 0;
}

/* --- The job -------------------------------------------------------------- */

static void prepare(struct run *r)
{
    static const char *const names[TABLES] = {"middle", "beside"};
    size_t words = r->text.word_count;

    for (int i = 0; i < TABLES; i++) {
        struct table *t = &r->tables[i];

        t->value = allocate(words * DIM, sizeof(float));
        t->gradient = allocate(words * DIM, sizeof(float));
        t->rows = allocate(words, sizeof(*t->rows));
        t->place = allocate(words, sizeof(*t->place));
        t->values = kvw_f32_rows(t->value, NULL, words, words, DIM);
        t->gradients = kvw_f32_rows(t->gradient, t->rows, 0, words, DIM);
        r->values[i] = (struct kvw_item){kvw_str(names[i]), &t->values, 1};
        r->pushes[i] = (struct kvw_item){kvw_str(names[i]), &t->gradients, 1};
    }
    r->ids = allocate(r->batch + POOL, sizeof(*r->ids));
    for (size_t i = 0; i < words * DIM; i++) {
        r->tables[MIDDLE].value[i] = (next_fraction(&r->chance) - 0.5f) / DIM;
    }
}

/* Rank 0 alone speaks for the job: the first values, and the optimizer. */
static void begin(struct run *r)
{
    size_t rank = (size_t)kvw_rank(r->kv);

    check(r->kv, kvw_init(r->kv, r->values, TABLES), "init");
    if (rank == 0) {
        check(r->kv, kvw_set_optimizer(r->kv, "adagrad", "lr=0.1"), "adagrad");
    }
    check(r->kv, kvw_barrier(r->kv, KVW_FOREVER), "barrier");
    r->at = r->text.count * rank / (size_t)kvw_num_workers(r->kv);
    r->chance += 1000003 * rank;
}

/* In ten parts of so many steps, as many for every worker; the last loss. */
static double train(struct run *r, size_t steps)
{
    const struct kvw_call copy = {.flags = KVW_COPY}; /* Next rows overwrite. */
    double loss = 0;

    for (int part = 1; part <= 10; part++) {
        loss = 0;
        for (size_t s = 0; s < steps; s++) {
            choose(r);
            pull(r);
            loss += learn(r) / (double)steps;
            check(r->kv, kvw_push(r->kv, r->pushes, TABLES, &copy, NULL),
                  "push");
        }
        if (kvw_rank(r->kv) == 0) {
            printf("part %d of 10: loss %.3f (of rank 0)\n", part, loss);
            fflush(stdout);
        }
    }
    check(r->kv, kvw_wait_all(r->kv, KVW_FOREVER), "push");
    check(r->kv, kvw_barrier(r->kv, KVW_FOREVER), "barrier");
    return loss;
}

/* The words whose rows point the same way, but for those seen too rarely. */
static void print_nearest(const struct run *r, const struct word *word)
{
    const struct word *words = r->text.words, *end = words + r->text.word_count;
    const float *all = r->tables[MIDDLE].value;
    const float *own = all + (word - words) * DIM;
    float below = 2;

    printf("%s:", word->letters);
    for (int n = 0; n < NEAREST; n++) {
        const char *best = "";
        float most = -2;

        for (const struct word *w = words; w < end; w++) {
            const float *row = all + (w - words) * DIM;
            float like = product(own, row) / sqrtf(product(row, row));

            if (w != word && w->count >= RARE && like > most && like < below) {
                most = like;
                best = w->letters;
            }
        }
        printf(" %s", best);
        below = most;
    }
    printf("\n");
}

static void print_words(const struct run *r, char *list)
{
    for (char *w = strtok(list, ","); w != NULL; w = strtok(NULL, ",")) {
        ENTRY entry = {w, NULL}, *found = hsearch(entry, FIND);

        if (found != NULL) {
            print_nearest(r, found->data);
        } else {
            printf("%s: is not in the text\n", w);
        }
    }
}

/* Rank 0, after all: the whole table, and what it shows. */
static void report(struct run *r, size_t rounds, double seconds, double loss,
                   char *near)
{
    struct table *t = &r->tables[MIDDLE];
    const unsigned char *bytes = (const void *)t->value;
    size_t words = rounds * r->batch * (size_t)kvw_num_workers(r->kv);
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, 64 bits. */
    struct kvw_stats stats;

    check(r->kv, kvw_get_stats(r->kv, &stats, sizeof(stats)), "stats");
    t->values.rows = NULL; /* All of them. */
    t->values.row_count = r->text.word_count;
    check(r->kv, kvw_pull(r->kv, r->values, 1, NULL, NULL), "pull");
    check(r->kv, kvw_wait_all(r->kv, KVW_FOREVER), "pull");
    print_words(r, near);
    printf("%d workers, %d servers, %zu rounds, %.1f s, %.0f words/s, %.1f MB "
           "moved by rank 0, loss %.3f\n",
           kvw_num_workers(r->kv), kvw_num_servers(r->kv), rounds, seconds,
           (double)words / seconds,
           (double)(stats.bytes_sent + stats.bytes_received) / 1e6, loss);
    for (size_t i = 0; i < r->text.word_count * DIM * sizeof(float); i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    }
    printf("rows fnv1a64 %016llx\n", (unsigned long long)hash);
}

/* --- Command line --------------------------------------------------------- */

enum { TEXT, KIND, NEAR, PASSES, BATCH, SEED, OPTIONS };

/* "--name value" pairs into the values. */
static void parse(int argc, char **argv, struct option *o)
{
    for (int a = 1; a < argc; a += 2) {
        int i = 0;

        while (i < OPTIONS && strcmp(argv[a], o[i].name) != 0) {
            i++;
        }
        if (i == OPTIONS || a + 1 == argc) {
            if (strcmp(argv[a], "--help") != 0) {
                fail(argv[a], "is no option, or lacks its value; see --help");
            }
            printf("usage: kvlaunch -n N -s N -- words [options]\n");
            for (i = 0; i < OPTIONS; i++) {
                printf("  %-9s %-37s %s\n", o[i].name, o[i].what, o[i].value);
            }
            exit(EXIT_SUCCESS);
        }
        o[i].value = argv[a + 1];
    }
}

static size_t number(const struct option *o)
{
    char *end;
    long number = strtol(o->value, &end, 10);

    if (number < 1 || number > 1000000 || *end != 0) {
        fail(o->name, "needs a number from 1 to 1000000");
    }
    return (size_t)number;
}

static double now(void)
{
    struct timespec t;

    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    static char near[] = "david,father,bread,egypt";
    struct option o[OPTIONS] = {
        {"--text", "a file to read instead of the Bible", ""},
        {"--kind", "of store: dist_async, local, ...", "dist_sync"},
        {"--near", "words to look up in the end", near},
        {"--passes", "over the text", "10"},
        {"--batch", "words of text a step, per worker", "1000"},
        {"--seed", "of all that is left to chance", "1"}};
    static struct run r; /* Its memory goes with the process. */

    parse(argc, argv, o);
    r.batch = number(&o[BATCH]);
    r.chance = number(&o[SEED]);
    size_t steps = number(&o[PASSES]);
    check(NULL, kvw_open(&r.kv, o[KIND].value, NULL), "open");
    cut(&r.text, read_text(o[TEXT].value));
    steps *= r.text.count / (size_t)kvw_num_workers(r.kv);
    steps = steps / r.batch / 10 + 1; /* Of a part. */
    prepare(&r);
    begin(&r);
    double started = now(), loss = train(&r, steps);
    if (kvw_rank(r.kv) == 0) {
        report(&r, 10 * steps, now() - started, loss, o[NEAR].value);
    }
    kvw_close(r.kv);
    return EXIT_SUCCESS;
}
