/*
 * files: what clients upload for batches, and what batches make. Rows in the database, bytes in
 * <state>/files/<id>; the row comes last and goes first, so a row always has its bytes.
 *
 * A file belongs to the key that sent it and is not there for others. What a key may hold is
 * bounded: bytes of one file, bytes in all, number of files.
 */
#ifndef HEARTH_GATEWAY_FILES_H
#define HEARTH_GATEWAY_FILES_H

#include "gateway/inquiry.h"

#define FILES_COUNT_MAX   10000 /* of one key */
#define FILES_UPLOADS_MAX 16    /* at once */
#define FILENAME_MAX_     255

struct file_row {
    char id[ID_MAX], owner[OWNER_MAX];
    char filename[FILENAME_MAX_ + 1], purpose[32];
    int64_t bytes, created_s, expires_s; /* expires_s 0: until it is deleted */
};

/* The path of a file's bytes; heap. */
char *files_path(const struct state *state, const char *id);
/* State thread. ERR_NOT_FOUND when the owner has none of this id. */
int files_find(sqlite3 *db, const char *owner, const char *id, struct file_row *ret,
               struct err *err) __attribute__((warn_unused_result));
int files_insert(sqlite3 *db, const struct file_row *f, struct err *err)
    __attribute__((warn_unused_result));
/* Forgets a file whose time has come and that no batch needs; false: there is none. */
bool files_expire_one(struct state *state, int64_t now_s);
bool files_write(const struct file_row *f, struct buf *out);

/* upload.c: the head of POST /v1/files; its body streams to the disk from then on. */
void upload_begin(struct server *s, struct exchange *x);
void upload_finish(struct server *s, struct exchange *x); /* the body is here */

#endif
