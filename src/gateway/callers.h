/*
 * callers: who a request comes from: the keys of the file, the one key of the command line, or
 * anybody. What each uses at once and per minute is counted here, and kept within its limits.
 *
 * The file is looked at again with every request (one stat), so a new key opens and a revoked one
 * closes at once; requests that are running go on. A file that cannot be read leaves the keys that
 * were read before. Once there was a file a key stays needed, even when the last key is revoked or
 * the file goes. Loop thread only.
 *
 * Rights: who bears a key with the right `admin`, the key of the command line, or no key where none
 * is needed, may unload models and set how long they stay, change the library, and sees the counts
 * of every key. Other keys use what is there, and see their own.
 */
#ifndef HEARTH_GATEWAY_CALLERS_H
#define HEARTH_GATEWAY_CALLERS_H

#include "base/buf.h"
#include "base/err.h"
#include "store/key_file.h"

#include <sys/stat.h>

#define CALLERS_SERIES_MAX                                                                         \
    64 /* keys with series of their own in the metrics; the rest: "other"                          \
        */

struct caller {
    char name[KEY_NAME_MAX + 1]; /* "": the unnamed key, or anybody where none is needed */
    uint32_t tenant;             /* 0 with it */
    bool admin;
    int priority;                            /* enum key_priority */
    uint64_t salt;                           /* of what is cached for the tenant; 0 for tenant 0 */
    int64_t requests_max, tokens_per_minute; /* 0 = no limit */
};

struct caller_usage {
    uint32_t tenant;
    char name[KEY_NAME_MAX + 1];
    int64_t running;
    double tokens_left; /* of this minute; below zero: a debt */
    int64_t refill_ms;
    uint64_t requests, refused, prompt_tokens, cached_tokens, completion_tokens;
};

struct callers {
    char *path; /* of the file, or NULL */
    struct key_file file;
    struct stat seen; /* st_ino 0: there was none */
    bool unread;      /* the last look at it failed, and that was logged */
    bool file_needed; /* there was a file at some time */
    bool one_key;     /* of the command line */
    char one_hash[DIGEST_TEXT_LEN + 1];
    struct caller_usage *usage; /* [n_usage], in the order of the first request */
    size_t n_usage, cap_usage;
};

/* path NULL: the user's own file. api_key may be NULL. A file that is there must be good. */
int callers_init(struct callers *c, const char *path, const char *api_key, struct err *err)
    __attribute__((warn_unused_result));
void callers_release(struct callers *c);
int callers_n(const struct callers *c); /* keys that open */
/* authorization, api_key: the headers (x-api-key: as Anthropic's clients send it), or NULL; the
 * first goes before the second. ERR_AUTH. ret may be NULL. */
int callers_identify(struct callers *c, const char *authorization, const char *api_key,
                     struct caller *ret, struct err *err);
/* Whose work it is that goes on without a request (batches). False: the key is not there any more.
 */
bool callers_find(const struct callers *c, const char *name, struct caller *ret);
/*
 * A request begins: counted, or API_ERR_RATE with the seconds after which to try again. A request
 * may start while its key has tokens left; what it took is charged at its end, so the balance may
 * go below zero and is waited for.
 */
int callers_begin(struct callers *c, const struct caller *who, int *ret_retry_s, struct err *err)
    __attribute__((warn_unused_result));
void callers_end(struct callers *c, const struct caller *who, int64_t n_prompt, int64_t n_cached,
                 int64_t n_completion);
/* Refused for another reason of the key's own; callers_begin said yes. */
void callers_refused(struct callers *c, const struct caller *who);
/* Who is no admin gets its own series, and one of all others together. */
void callers_write_metrics(const struct callers *c, const struct caller *who, struct buf *out);

#endif
