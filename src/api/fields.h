/*
 * fields: one table per endpoint says what each request parameter is and what is done with it.
 *
 * Nothing a client sends is dropped silently. A parameter that is not in the table, has the wrong
 * type, is out of range or is refused gives ERR_INVALID or ERR_UNSUPPORTED with err->param = its
 * name. null means "not given" everywhere, as OpenAI's clients mean it.
 */
#ifndef HEARTH_API_FIELDS_H
#define HEARTH_API_FIELDS_H

#include "base/err.h"
#include "base/json.h"

enum api_kind {
    API_BOOL, /* bool */
    API_INT,  /* int64_t; 4.0 is accepted for 4 */
    API_NUM,  /* double */
    API_STR,  /* struct str: borrows from the JSON value */
    API_ANY,  /* `take` looks itself */
};

enum api_use {
    API_HONOURED,
    API_NO_EFFECT, /* checked, then without effect on the answer (hints, labels) */
    API_REFUSED,   /* only what `take` finds neutral passes; `note` says why and what instead */
};

struct api_field {
    const char *name;
    enum api_kind kind;
    enum api_use use;
    double min, max; /* of numbers, inclusive */
    bool above_min;  /* min itself is out of range */
    size_t offset;   /* in *into, when honoured and there is no take() */
    /* Reads value into *into. For API_REFUSED: 0 when the value asks for nothing special. */
    int (*take)(const char *name, const json_t *value, void *into, struct err *err);
    const char *note;
    /* For people and programs that read the contract (contract.h); nothing here checks by them. */
    const char *shape; /* of API_ANY: a JSON schema, as text; NULL: any value */
    const struct api_field
        *sub; /* [n_sub]: members of the object, or of each object of the array */
    int n_sub;
};

/* A body's fields, for who lists them (contract.h). */
struct api_form {
    const struct api_field *field; /* [n] */
    int n;
};

/* Every member of obj through the table into *into. `where` precedes names: "" or "messages[2]." */
int api_fields_read(const struct api_field *field, size_t n, const json_t *obj, const char *where,
                    void *into, struct err *err) __attribute__((warn_unused_result));

/* "'temperature' must be ..., not a string": the one form for wrong types. */
int api_wrong_type(const char *name, const char *must_be, const json_t *value, struct err *err);

/* A list of token ids as clients send it: ERR_INVALID when it is empty or holds anything else. */
int api_check_token_ids(const char *name, const json_t *ids, struct err *err);

#endif
