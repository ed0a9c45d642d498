/*
 * key_file: API keys with names. One JSON file, readable by its owner only, holds what the keys
 * hash to (SHA-256), never a key itself: that is shown once, when it is made.
 *
 * A key is 192 random bits, so a plain hash cannot be guessed back. Its tenant is a small number
 * that is never given twice, not even after the key was revoked: what is kept per tenant (cached
 * prefixes, counts) never falls to somebody else. Writers lock each other out and replace the file
 * whole; a reader sees the old keys or the new ones.
 */
#ifndef HEARTH_STORE_KEY_FILE_H
#define HEARTH_STORE_KEY_FILE_H

#include "base/err.h"
#include "base/str.h"
#include "store/digest.h"

#include <stdbool.h>

#define KEY_NAME_MAX 63
#define KEYS_MAX     1000
#define KEY_TEXT_LEN 55 /* "hearth-" and 48 hexadecimal digits */

/* From the first served to the last. */
#define KEY_PRIORITY_WORDS "interactive|agent|background|batch"
enum key_priority {
    KEY_INTERACTIVE,
    KEY_AGENT,
    KEY_BACKGROUND,
    KEY_BATCH,
    KEY_N_PRIORITIES,
};
const char *key_priority_word(int priority);
/* False: no such word. */
bool key_priority_of(struct str word, int *ret_priority);

struct key {
    char name[KEY_NAME_MAX + 1]; /* letters, digits, '.', '_', '-'; unique */
    char hash[DIGEST_TEXT_LEN + 1];
    uint32_t tenant;           /* from 1 */
    bool admin;                /* may unload, keep and change models, and see all keys' counts */
    int priority;              /* its requests' class; they may ask for a lower one */
    int64_t requests_max;      /* at once; 0 = no limit */
    int64_t tokens_per_minute; /* of prompts and answers together; 0 = no limit */
    int64_t created_ms;        /* since 1970 */
};

struct key_file {
    struct key *key; /* [n_key] in the order in which they were made */
    int n_key;
    uint32_t last_tenant;
};

/* Heap: $XDG_CONFIG_HOME/hearth/keys.json or ~/.config/hearth/keys.json; NULL without a home. */
char *key_file_path(void);
/*
 * ERR_NOT_FOUND: there is no such file. ERR_DENIED: others may write to it. ERR_CORRUPT: it is not
 * what key_file_create writes.
 */
int key_file_read(const char *path, struct key_file *ret, struct err *err)
    __attribute__((warn_unused_result));
void key_file_release(struct key_file *f);
/*
 * Adds a key with the wish's name, rights, priority and limits; the rest is filled in here.
 * ERR_EXISTS: the name is taken. ERR_INVALID: it is no name. ERR_LIMIT: there are KEYS_MAX.
 */
int key_file_create(const char *path, const struct key *wish, char ret_text[KEY_TEXT_LEN + 1],
                    struct err *err) __attribute__((warn_unused_result));
/* ERR_NOT_FOUND: there is none of the name. */
int key_file_revoke(const char *path, const char *name, struct err *err)
    __attribute__((warn_unused_result));
/* Which key a client sent, or NULL. Its time does not depend on how much of a key was right. */
const struct key *key_file_find(const struct key_file *f, struct str text);

#endif
