#include "server/shard_table.h"

#include "common/base/mem.h"

bool shard_rows_valid(const struct entry *e, const void *rows, uint32_t count)
{
    bool ascending = true;

    for (uint32_t i = 1; i < count; i++) {
        ascending &= table_row_at(rows, i - 1) < table_row_at(rows, i);
    }
    return count == 0 ||
           (ascending && table_row_at(rows, count - 1) < table_rows(e));
}

enum kv_status shard_rows_check(const struct entry *e,
                                const struct kv_codec *codec,
                                const void *payload, size_t size)
{
    const unsigned char *at = payload;
    uint32_t count;

    if (size < sizeof count) {
        return KV_EINVAL;
    }
    count = bytes_get_u32(at);
    if (count > table_rows(e) ||
        size !=
            (1 + (size_t)count) * sizeof count +
                codec->encoded_size(e->dtype, (size_t)count * e->row_length)) {
        return KV_EINVAL;
    }
    return shard_rows_valid(e, at + sizeof count, count) ? KV_OK : KV_EINVAL;
}

struct row_reader *shard_rows_readers(uint32_t count)
{
    return mem_zalloc(count, sizeof(struct row_reader));
}

static void begin(const struct entry *e, const struct share *share,
                  struct row_reader *r)
{
    const unsigned char *payload = share->payload;

    r->codec = share->codec;
    r->row_size = share->codec->encoded_size(e->dtype, e->row_length);
    r->at = 0;
    r->rows = NULL;
    r->data = payload;
    r->count = table_rows(e);
    if (share->rows) {
        r->count = bytes_get_u32(payload);
        r->rows = payload + sizeof(uint32_t);
        r->data = r->rows + (size_t)r->count * sizeof(uint32_t);
    }
}

size_t table_begin(struct shard *s, const struct entry *e)
{
    size_t n = 0;

    for (uint32_t rank = 0; n < e->arrived; rank++) {
        if (e->shares[rank] != NULL && e->shares[rank]->pushed) {
            begin(e, e->shares[rank], &s->readers[n++]);
        }
    }
    return n;
}

uint32_t table_count(struct shard *s, const struct entry *e)
{
    size_t n = table_begin(s, e);
    uint32_t count = 0, row;

    if (n == 1) {
        return s->readers[0].count;
    }
    while ((row = table_next(s, n)) != UINT32_MAX) {
        table_take(s, n, row);
        count++;
    }
    return count;
}
