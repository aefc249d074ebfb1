/* hello - three steps of gradient descent towards 1, kept by a server. */
#include <kvworker.h>
#include <stdio.h>

int main(void)
{
    float weights[4] = {0, 0, 0, 0}, gradient[4];
    struct kvw_tensor w = kvw_f32(weights, 4), g = kvw_f32(gradient, 4);
    struct kvw_item pull = {kvw_str("w"), &w, 1}, push = {kvw_str("w"), &g, 1};
    struct kvw *kv;

    if (kvw_open(&kv, "dist_sync", NULL) != KVW_OK) {
        fprintf(stderr, "hello: %s\n", kvw_error(NULL));
        return 1;
    }
    int status = kvw_broadcast(kv, &pull, NULL, 1);
    if (status == KVW_OK) {
        status = kvw_set_optimizer(kv, "sgd", "lr=0.5");
    }
    for (int step = 0; step < 3 && status == KVW_OK; step++) {
        for (int i = 0; i < 4; i++) {
            gradient[i] = (weights[i] - 1) / (float)kvw_num_workers(kv);
        }
        kvw_push(kv, &push, 1, NULL, NULL);
        kvw_pull(kv, &pull, 1, NULL, NULL);
        status = kvw_wait_all(kv, KVW_FOREVER);
        printf("w is %g %g %g %g\n", (double)weights[0], (double)weights[1],
               (double)weights[2], (double)weights[3]);
    }
    if (status != KVW_OK) {
        fprintf(stderr, "hello: %s\n", kvw_error(kv));
    }
    kvw_close(kv);
    return status != KVW_OK;
}
