/*
 * sources: models that Hearth knows where to find without a registry.
 */
#ifndef HEARTH_STORE_SOURCES_H
#define HEARTH_STORE_SOURCES_H

#include "store/model_name.h"

#include <stdint.h>

struct source {
    const char *name;   /* "smollm2:135m" */
    const char *from;   /* "pypi:package==version" */
    const char *digest; /* of the model file */
    int64_t bytes;
    const char *license;
};

/* NULL when the table does not have it. */
const struct source *source_find(const struct model_name *name);

#endif
