/*
 * fuzz_ipc: frames of both directions, from whoever may have the other end: a worker reads requests
 * (with what one that goes on had), the gateway reads what a worker says and keeps it for the next.
 *
 * The input is lines of JSON, or after a NUL the bytes of a stream. All go through one reader of
 * frames, cut at odd places. What a reader of messages takes must come back from its writer
 * unchanged; what the gateway makes of the events for the next worker, that worker must take.
 */
#include "base/check.h"
#include "base/mem.h"
#include "gateway/replay.h"
#include "ipc/frame.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct talk {
    struct replay replay; /* of the first request; n_choice is 0 before it */
    bool is_told;         /* its worker counted a prompt */
};

/* Nothing is taken from or lost on the way back. */
static void same(json_t *first, json_t *second)
{
    CHECK(first != NULL && second != NULL && json_equal(first, second));
    json_decref(first);
    json_decref(second);
}

static void request(struct talk *t, const json_t *frame)
{
    struct gen_request r, back;
    struct err err = {0};
    if (gen_request_from_json(frame, &r, &err) != 0) {
        CHECK(err.code != 0 && err.text[0] != '\0');
        return;
    }
    json_t *written = gen_request_to_json(&r);
    CHECK(written != NULL && gen_request_from_json(written, &back, NULL) == 0);
    if (t->replay.n_choice == 0 && r.resume.prior == NULL)
        replay_init(&t->replay, written, r.n);
    same(written, gen_request_to_json(&back));
    gen_request_release(&r);
    gen_request_release(&back);
}

static void accepted(struct talk *t, const json_t *frame)
{
    struct gen_accepted a, back;
    if (gen_accepted_from_json(frame, &a, NULL) != 0)
        return;
    json_t *written = gen_accepted_to_json(&a);
    CHECK(gen_accepted_from_json(written, &back, NULL) == 0);
    same(written, gen_accepted_to_json(&back));
    if (t->replay.n_choice > 0 && !t->replay.accepted) {
        replay_accepted(&t->replay, &a, 4096);
        t->is_told = a.n_prompt > 0;
    }
}

static void delta(struct talk *t, const json_t *frame)
{
    struct gen_delta d, back;
    if (gen_delta_from_json(frame, &d, NULL) != 0)
        return;
    json_t *written = gen_delta_to_json(&d);
    CHECK(written != NULL && gen_delta_from_json(written, &back, NULL) == 0);
    same(written, gen_delta_to_json(&back));
    if (t->replay.n_choice > 0)
        (void)!replay_delta(&t->replay, &d, NULL);
    gen_delta_release(&d);
    gen_delta_release(&back);
}

static void end(struct talk *t, const json_t *frame)
{
    struct gen_end e, back;
    if (gen_end_from_json(frame, &e, NULL) != 0)
        return;
    json_t *written = gen_end_to_json(&e);
    CHECK(written != NULL && gen_end_from_json(written, &back, NULL) == 0);
    same(written, gen_end_to_json(&back));
    if (t->replay.n_choice > 0)
        (void)!replay_end(&t->replay, &e, NULL);
    gen_end_release(&e);
    gen_end_release(&back);
}

/* Flat structs: type, reader, writer. */
#define FLAT(NAME, TYPE)                                                                           \
    static void NAME(struct talk *t, const json_t *frame)                                          \
    {                                                                                              \
        struct TYPE one = {0}, back = {0};                                                         \
        (void)t;                                                                                   \
        if (TYPE##_from_json(frame, &one, NULL) != 0)                                              \
            return;                                                                                \
        json_t *written = TYPE##_to_json(&one);                                                    \
        CHECK(written != NULL && TYPE##_from_json(written, &back, NULL) == 0);                     \
        same(written, TYPE##_to_json(&back));                                                      \
    }
FLAT(done, gen_done)
FLAT(error, gen_error)
FLAT(ready, worker_ready)
FLAT(stats, worker_stats)

static void take(struct talk *t, const json_t *frame)
{
    static const struct {
        const char *type;
        void (*take)(struct talk *t, const json_t *frame);
    } kind[] = {{"generate", request}, {"accepted", accepted}, {"delta", delta}, {"end", end},
                {"done", done},        {"error", error},       {"ready", ready}, {"stats", stats}};
    int32_t *id;
    size_t n;
    uint64_t number;
    for (size_t i = 0; i < ARRAY_LEN(kind); i++)
        if (message_is(frame, kind[i].type))
            kind[i].take(t, frame);
    (void)!message_id(frame, &number, NULL);
    if (message_tokens(json_object_get(frame, "tokens"), &id, &n, NULL) == 0)
        free(id);
}

/* The next worker gets what this one's death left. */
static void resume(const struct talk *t)
{
    struct gen_request r;
    struct buf out;
    struct err err = {0};
    buf_init(&out, FRAME_BYTES_MAX);
    if (t->replay.n_choice > 0 && replay_write(&t->replay, &out)) {
        json_t *frame = json_parse(buf_str(&out), FRAME_DEPTH_MAX, &err);
        CHECK(frame != NULL);
        int rc = gen_request_from_json(frame, &r, &err);
        if (rc != 0 && (!t->replay.accepted || t->is_told)) {
            fprintf(stderr, "the next worker would refuse: %s\n", err.text);
            CHECK(!"what the gateway sends, a worker takes");
        }
        if (rc == 0) {
            CHECK((r.resume.prior != NULL) == t->replay.accepted);
            gen_request_release(&r);
        }
        json_decref(frame);
    }
    buf_release(&out);
}

/* Each line as a frame, whatever is in it; after a NUL the bytes are the stream itself. */
static void write_stream(const uint8_t *data, size_t size, struct buf *out)
{
    struct str rest = {(const char *)data, size}, line;
    if (size > 0 && data[0] == 0) {
        CHECK(buf_add(out, data + 1, size - 1));
        return;
    }
    while (str_split(&rest, '\n', &line))
        CHECK(frame_append_text(line, out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_reader reader;
    struct talk t = {0};
    struct buf stream;
    struct err err = {0};
    json_t *frame;
    int rc = 0;
    buf_init(&stream, FRAME_BYTES_MAX);
    frame_reader_init(&reader);
    write_stream(data, size, &stream);
    for (size_t at = 0, n; at < stream.len && rc >= 0; at += n) {
        n = 1 + (at * 7 + size) % 97;
        n = n < stream.len - at ? n : stream.len - at;
        CHECK(frame_reader_feed(&reader, stream.ptr + at, n));
        while ((rc = frame_reader_next(&reader, &frame, &err)) > 0) {
            take(&t, frame);
            json_decref(frame);
        }
        CHECK(rc == 0 || err.text[0] != '\0');
    }
    resume(&t);
    replay_release(&t.replay);
    frame_reader_release(&reader);
    buf_release(&stream);
    return 0;
}
