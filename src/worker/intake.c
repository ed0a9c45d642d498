/*
 * intake: see the header. An item stands in the queue of its lane, then in no list while that
 * lane's thread works on it (lane.at_hand), then in the list of results. Nobody else touches what
 * is at hand then, but for is_cancelled under the lock.
 */
#include "worker/intake.h"
#include "base/check.h"
#include "base/mem.h"
#include "worker/question.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LANES 2

struct item {
    struct item *next;
    json_t *frame;
    uint64_t id;
    struct intake_result result;
};

struct queue {
    struct item *head, **end;
};

struct lane {
    struct intake *in;
    pthread_t thread;
    bool is_started;
    struct queue waiting; /* under the lock */
    struct item *at_hand;
};

struct intake {
    const struct loaded *model;
    struct lane lane[LANES]; /* for small frames, for large ones */
    int event_fd;
    int n; /* the loop's: items in all lists */

    pthread_mutex_t lock; /* all below */
    pthread_cond_t work;  /* an item, room for a result, or the stop */
    struct queue ready;
    int n_ready;
    bool stop;
};

/* ---- lists ---- */

static void queue_init(struct queue *q)
{
    q->head = NULL;
    q->end = &q->head;
}

static void queue_push(struct queue *q, struct item *i)
{
    i->next = NULL;
    *q->end = i;
    q->end = &i->next;
}

/* Takes out the item that *at points to. */
static struct item *queue_take(struct queue *q, struct item **at)
{
    struct item *i = *at;
    *at = i->next;
    if (q->end == &i->next)
        q->end = at;
    return i;
}

static struct item **queue_find(struct queue *q, uint64_t id)
{
    struct item **at = &q->head;
    while (*at && (*at)->id != id)
        at = &(*at)->next;
    return at;
}

static void queue_free(struct queue *q)
{
    while (q->head) {
        struct item *i = queue_take(q, &q->head);
        json_decref(i->frame);
        json_decref(i->result.reply);
        answer_free(i->result.answer);
        free(i);
    }
}

/* ---- the lanes' threads ---- */

static void tell(struct intake *in)
{
    uint64_t one = 1;
    ssize_t rc = write(in->event_fd, &one, sizeof(one));
    (void)rc; /* full means readable, which is what we want */
}

/* Under the lock. */
static void put_ready(struct intake *in, struct item *i)
{
    queue_push(&in->ready, i);
    in->n_ready++;
    tell(in);
}

/* Beside the lock: only this thread reads the item's frame. */
static void prepare(const struct intake *in, const struct item *i, struct intake_result *ret)
{
    struct gen_request r;
    *ret = (struct intake_result){.id = i->id, .error = {.id = i->id}};
    if (question_is(i->frame)) {
        ret->reply = question_answer(in->model, i->frame, i->id, &ret->error.err);
        return;
    }
    if (gen_request_from_json(i->frame, &r, &ret->error.err) != 0)
        return;
    if (!answer_new(in->model, &r, &ret->answer, &ret->error)) {
        ret->answer = NULL;
        gen_request_release(&r);
    }
}

static void *run(void *arg)
{
    struct lane *lane = arg;
    struct intake *in = lane->in;
    pthread_mutex_lock(&in->lock);
    while (!in->stop) {
        if (!lane->waiting.head || in->n_ready >= INTAKE_READY_MAX) {
            pthread_cond_wait(&in->work, &in->lock);
            continue;
        }
        struct item *i = lane->at_hand = queue_take(&lane->waiting, &lane->waiting.head);
        pthread_mutex_unlock(&in->lock);
        struct intake_result r;
        prepare(in, i, &r);
        json_decref(i->frame);
        pthread_mutex_lock(&in->lock);
        i->frame = NULL;
        r.is_cancelled = i->result.is_cancelled;
        i->result = r;
        lane->at_hand = NULL;
        put_ready(in, i);
    }
    pthread_mutex_unlock(&in->lock);
    return NULL;
}

/* ---- the loop's side ---- */

static int start(struct intake *in, struct lane *lane, struct err *err)
{
    lane->in = in;
    int error = pthread_create(&lane->thread, NULL, run, lane);
    lane->is_started = error == 0;
    return error != 0 ? err_set_errno(err, error, "cannot start a thread of requests") : 0;
}

int intake_new(const struct loaded *model, struct intake **ret, struct err *err)
{
    struct intake *in = mem_zero(1, sizeof(*in));
    in->model = model;
    queue_init(&in->ready);
    for (int k = 0; k < LANES; k++)
        queue_init(&in->lane[k].waiting);
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->work, NULL);
    in->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = in->event_fd < 0 ? err_set(err, ERR_IO, "cannot create an event descriptor") : 0;
    for (int k = 0; k < LANES && rc == 0; k++)
        rc = start(in, &in->lane[k], err);
    if (rc != 0) {
        intake_free(in);
        return rc;
    }
    *ret = in;
    return 0;
}

void intake_free(struct intake *in)
{
    if (!in)
        return;
    pthread_mutex_lock(&in->lock);
    in->stop = true;
    pthread_cond_broadcast(&in->work);
    pthread_mutex_unlock(&in->lock);
    for (int k = 0; k < LANES; k++) {
        if (in->lane[k].is_started)
            pthread_join(in->lane[k].thread, NULL);
        queue_free(&in->lane[k].waiting);
    }
    queue_free(&in->ready);
    if (in->event_fd >= 0)
        close(in->event_fd);
    pthread_cond_destroy(&in->work);
    pthread_mutex_destroy(&in->lock);
    free(in);
}

void intake_put(struct intake *in, json_t **frame, uint64_t id, size_t n_bytes)
{
    struct item *i = mem_zero(1, sizeof(*i));
    i->frame = *frame;
    *frame = NULL;
    i->id = id;
    in->n++;
    pthread_mutex_lock(&in->lock);
    queue_push(&in->lane[n_bytes > INTAKE_SMALL].waiting, i);
    pthread_cond_broadcast(&in->work);
    pthread_mutex_unlock(&in->lock);
}

/* One that waits is over at once. Under the lock. */
static bool cancel_in(struct intake *in, struct lane *lane, uint64_t id)
{
    if (lane->at_hand && lane->at_hand->id == id) {
        lane->at_hand->result.is_cancelled = true;
        return true;
    }
    struct item **at = queue_find(&lane->waiting, id);
    if (!*at)
        return false;
    struct item *i = queue_take(&lane->waiting, at);
    json_decref(i->frame);
    i->frame = NULL;
    i->result.is_cancelled = true;
    put_ready(in, i);
    return true;
}

bool intake_cancel(struct intake *in, uint64_t id)
{
    pthread_mutex_lock(&in->lock);
    struct item *ready = *queue_find(&in->ready, id);
    bool found = ready != NULL;
    if (found)
        ready->result.is_cancelled = true;
    for (int k = 0; k < LANES && !found; k++)
        found = cancel_in(in, &in->lane[k], id);
    pthread_mutex_unlock(&in->lock);
    return found;
}

int intake_n(const struct intake *in)
{
    return in->n;
}

int intake_fd(const struct intake *in)
{
    return in->event_fd;
}

bool intake_take(struct intake *in, struct intake_result *ret)
{
    uint64_t count;
    ssize_t rc = read(in->event_fd, &count, sizeof(count));
    (void)rc; /* nothing to read is fine: the list says what is there */
    pthread_mutex_lock(&in->lock);
    struct item *i = in->ready.head ? queue_take(&in->ready, &in->ready.head) : NULL;
    if (i) {
        in->n_ready--;
        pthread_cond_broadcast(&in->work);
    }
    if (in->ready.head)
        tell(in); /* the taker may stop here for a while */
    pthread_mutex_unlock(&in->lock);
    if (!i)
        return false;
    in->n--;
    *ret = i->result;
    if (ret->is_cancelled && (ret->answer || ret->reply || ret->error.err.code == 0)) {
        answer_free(ret->answer);
        json_decref(ret->reply);
        ret->answer = NULL;
        ret->reply = NULL;
        ret->error = (struct gen_error){.id = i->id};
        err_set(&ret->error.err, ERR_CANCELLED, "the request was cancelled");
    } else {
        ret->is_cancelled = false; /* its own error came first */
    }
    free(i);
    return true;
}
