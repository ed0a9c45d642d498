/*
 * making: what /api/create does with a model's files, by processes that are locked in: another type
 * of them, and whether a template works. On an errand's thread; steps are told to its client.
 */
#ifndef HEARTH_GATEWAY_MAKING_H
#define HEARTH_GATEWAY_MAKING_H

#include "gateway/errand.h"
#include "store/digest.h"

/* path: [n_path] the model's parts. type: as ollama_quantization_find returns it. The caller holds
 * the library until the blob has a name. ERR_INVALID with param "quantize": that cannot be made of
 * these. */
int making_quantize(struct server *s, struct errand *e, char *const *path, int n_path,
                    const char *type, char ret_digest[DIGEST_TEXT_LEN + 1], struct err *err)
    __attribute__((warn_unused_result));
/* ERR_INVALID with param "template": it does not work, and where. */
int making_check_template(struct server *s, struct errand *e, char *const *path, int n_path,
                          const char *text, struct err *err) __attribute__((warn_unused_result));

#endif
