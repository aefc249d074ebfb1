#include "server/config_options.h"

#include <inttypes.h>

static const char *const levels[] = {"error", "warn", "info", "debug", NULL};

#define FIELD(name) offsetof(struct config, name)

const struct setting config_options[] = {
    {"config", SETTING_STRING, FIELD(file), 0, CONFIG_PATH_MAX, .fallback = "",
     .meta = "FILE", .help = "read `key = value` lines first"},
    {"listen", SETTING_STRING, FIELD(listen), 1, KV_ADDRESS_MAX,
     .fallback = CONFIG_LISTEN_DEFAULT, .meta = "HOST:PORT",
     .help = "where to listen; port 0 picks one"},
    {"advertise", SETTING_STRING, FIELD(advertise), 0, KV_ADDRESS_MAX,
     .fallback = "", .meta = "HOST:PORT",
     .help = "what workers connect to, if not the address listened on"},
    {"listen-fd", SETTING_STRING, FIELD(listen_fd_text), 0, CONFIG_FD_MAX,
     .fallback = "", .meta = "FD",
     .help = "serve this inherited socket, which is bound already"},
    {"ready-fd", SETTING_STRING, FIELD(ready_fd_text), 0, CONFIG_FD_MAX,
     .fallback = "", .meta = "FD",
     .help = "write HOST:PORT and a newline there when ready, and close it"},
    {"lifeline-fd", SETTING_STRING, FIELD(lifeline_fd_text), 0, CONFIG_FD_MAX,
     .fallback = "", .meta = "FD",
     .help = "exit when this pipe or socket ends: who started us is gone"},
    {"index", SETTING_U64, FIELD(index), 0, KV_SERVERS_MAX - 1, .fallback = "0",
     .meta = "N", .help = "which server of the job this is; 0 is the root"},
    {"servers", SETTING_U64, FIELD(servers), 1, KV_SERVERS_MAX, .fallback = "1",
     .meta = "N", .help = "servers of the job"},
    {"workers", SETTING_U64, FIELD(workers), 1, KV_RANKS_MAX, .fallback = "1",
     .meta = "N", .help = "workers of the job"},
    {"root", SETTING_STRING, FIELD(root), 0, KV_ADDRESS_MAX, .fallback = "",
     .meta = "HOST:PORT", .help = "the root; needed when index is not 0"},
    {"job", SETTING_STRING, FIELD(job_text), 2 * HANDSHAKE_JOB_SIZE,
     2 * HANDSHAKE_JOB_SIZE, .fallback = "00000000000000000000000000000000",
     .meta = "HEX32", .help = "the job's name, 32 hexadecimal digits"},
    {"key-file", SETTING_STRING, FIELD(key_file), 0, CONFIG_PATH_MAX,
     .fallback = "", .meta = "FILE",
     .help = "32 random bytes that members of the job share"},
    {"insecure", SETTING_BOOL, FIELD(insecure), .fallback = "no",
     .help = "listen beyond loopback without a key file"},
    {"shards", SETTING_U64, FIELD(shards), 0, KV_SHARDS_MAX, .fallback = "0",
     .meta = "N", .help = "threads that own state; 0: one a core"},
    {"arena-dir", SETTING_STRING, FIELD(arena_dir), 0, CONFIG_PATH_MAX,
     .fallback = "", .meta = "DIR",
     .help = "where state is kept (/dev/shm/kvstored-UID)"},
    {"arena-max", SETTING_SIZE, FIELD(arena_max), .fallback = "0",
     .meta = "SIZE", .help = "most bytes of state; 0: all memory"},
    {"new-job", SETTING_BOOL, FIELD(new_job), .fallback = "no",
     .help = "replace the state of another job"},
    {"trust-arena", SETTING_BOOL, FIELD(trust_arena), .fallback = "no",
     .help = "resume though the process before crashed by itself"},
    {"volatile", SETTING_BOOL, FIELD(in_memory), .fallback = "no",
     .help = "keep state in memory only: it dies with the process"},
    {"slice-bytes", SETTING_SIZE, FIELD(slice_bytes), 256, KV_SLICE_BYTES_MAX,
     .fallback = "512K", .meta = "SIZE", .help = "cut values this small"},
    {"exit-when-done", SETTING_BOOL, FIELD(exit_when_done), .fallback = "no",
     .help = "root: exit when every rank has left"},
    {"log-level", SETTING_ENUM, FIELD(log_level), .words = levels,
     .fallback = "info", .meta = "LEVEL", .help = "how much to log"},
    {0},
};

/* --- Printing ------------------------------------------------------------ */

void config_help(FILE *out)
{
    fprintf(out,
            "kvstored [OPTION...]: a server of a training job's parameters.\n"
            "\n"
            "Started without options it serves a job of one worker on\n"
            "127.0.0.1:9091. Each option can also stand in a file (--config)\n"
            "as `name = value`, or in the environment as KV_NAME.\n"
            "\n");
    settings_help(config_options, out);
    fprintf(out, "\n"
                 "  --print-config   print what is in force, and exit\n"
                 "  --print-limits   print the limits of the protocol, and "
                 "exit\n"
                 "  --version        print the version, and exit\n"
                 "  --help           print this, and exit\n"
                 "\n"
                 "kvstored(8) has the rest.\n");
}

void config_print(const struct config *c, FILE *out)
{
    settings_print(config_options, c, out);
}

void config_print_limits(FILE *out)
{
    static const struct {
        const char *name;
        uint64_t value;
    } limits[] = {
        {"protocol version, lowest", KV_VERSION_MIN},
        {"protocol version, highest", KV_VERSION_MAX},
        {"frame metadata bytes", KV_META_MAX},
        {"frame payload bytes", KV_PAYLOAD_MAX},
        {"slice bytes", KV_SLICE_BYTES_MAX},
        {"slices in a frame", KV_BATCH_ENTRIES_MAX},
        {"bytes of small slices in a frame", KV_BATCH_PAYLOAD_MAX},
        {"workers", KV_RANKS_MAX},
        {"servers", KV_SERVERS_MAX},
        {"shards of a server", KV_SHARDS_MAX},
        {"slices of a shard", KV_SLOTS_MAX},
        {"keys", KV_KEYS_MAX},
        {"bytes of a key's name", KV_KEY_NAME_MAX},
        {"dimensions of a value", KV_DIMS_MAX},
        {"elements of a value", KV_COUNT_MAX},
        {"bytes a link may hold in open rounds", KV_HELD_BYTES_MAX},
        {"connections without proof", KV_UNPROVEN_MAX},
        {"connections without proof from a host", KV_UNPROVEN_PER_HOST_MAX},
        {"milliseconds for the handshake", KV_HANDSHAKE_MS},
        {"milliseconds for a frame's head", KV_HEAD_MS},
        {"milliseconds without progress in a payload", KV_PROGRESS_MS},
    };

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        fprintf(out, "%-42s %" PRIu64 "\n", limits[i].name, limits[i].value);
    }
}
