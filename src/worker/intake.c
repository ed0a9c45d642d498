/*
 * intake: see the header. One list of items, oldest first: results, then the one at hand, then
 * those that wait. The thread works on the first item without a result and nobody else touches it
 * then, but for is_cancelled under the lock.
 */
#include "worker/intake.h"
#include "base/check.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct item {
    struct item *next;
    json_t *frame;
    uint64_t id;
    bool is_ready;
    struct intake_result result;
};

struct intake {
    const struct loaded *model;
    pthread_t thread;
    bool is_started;
    int event_fd;
    int n; /* the loop's: items in the list */

    pthread_mutex_t lock; /* all below */
    pthread_cond_t work;
    struct item *head, **end;
    bool stop;
};

static struct item *first_waiting(const struct intake *in)
{
    struct item *i = in->head;
    while (i && i->is_ready)
        i = i->next;
    return i;
}

/* Beside the lock: only this thread reads the item's frame. */
static void prepare(const struct intake *in, const struct item *i, struct intake_result *ret)
{
    struct gen_request r;
    *ret = (struct intake_result){.error = {.id = i->id}};
    if (gen_request_from_json(i->frame, &r, &ret->error.err) != 0)
        return;
    if (!answer_new(in->model, &r, &ret->answer, &ret->error)) {
        ret->answer = NULL;
        gen_request_release(&r);
    }
}

static void *run(void *arg)
{
    struct intake *in = arg;
    pthread_mutex_lock(&in->lock);
    while (!in->stop) {
        struct item *i = first_waiting(in);
        if (!i) {
            pthread_cond_wait(&in->work, &in->lock);
            continue;
        }
        pthread_mutex_unlock(&in->lock);
        struct intake_result r;
        prepare(in, i, &r);
        json_decref(i->frame);
        pthread_mutex_lock(&in->lock);
        i->frame = NULL;
        r.is_cancelled = i->result.is_cancelled;
        i->result = r;
        i->is_ready = true;
        uint64_t one = 1;
        ssize_t rc = write(in->event_fd, &one, sizeof(one));
        (void)rc; /* full means readable, which is what we want */
    }
    pthread_mutex_unlock(&in->lock);
    return NULL;
}

int intake_new(const struct loaded *model, struct intake **ret, struct err *err)
{
    struct intake *in = mem_zero(1, sizeof(*in));
    in->model = model;
    in->end = &in->head;
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->work, NULL);
    in->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = in->event_fd < 0 ? err_set(err, ERR_IO, "cannot create an event descriptor") : 0;
    if (rc == 0) {
        int error = pthread_create(&in->thread, NULL, run, in);
        in->is_started = error == 0;
        rc = error != 0 ? err_set_errno(err, error, "cannot start the thread of requests") : 0;
    }
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
    if (in->is_started) {
        pthread_mutex_lock(&in->lock);
        in->stop = true;
        pthread_cond_signal(&in->work);
        pthread_mutex_unlock(&in->lock);
        pthread_join(in->thread, NULL);
    }
    while (in->head) {
        struct item *i = in->head;
        in->head = i->next;
        json_decref(i->frame);
        answer_free(i->result.answer);
        free(i);
    }
    if (in->event_fd >= 0)
        close(in->event_fd);
    pthread_cond_destroy(&in->work);
    pthread_mutex_destroy(&in->lock);
    free(in);
}

void intake_put(struct intake *in, json_t **frame, uint64_t id)
{
    struct item *i = mem_zero(1, sizeof(*i));
    i->frame = *frame;
    *frame = NULL;
    i->id = id;
    in->n++;
    pthread_mutex_lock(&in->lock);
    *in->end = i;
    in->end = &i->next;
    pthread_cond_signal(&in->work);
    pthread_mutex_unlock(&in->lock);
}

bool intake_cancel(struct intake *in, uint64_t id)
{
    bool found = false;
    pthread_mutex_lock(&in->lock);
    for (struct item *i = in->head; i && !found; i = i->next) {
        found = i->id == id;
        i->result.is_cancelled = i->result.is_cancelled || found;
    }
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
    struct item *i = in->head && in->head->is_ready ? in->head : NULL;
    if (i) {
        in->head = i->next;
        if (!in->head)
            in->end = &in->head;
    }
    pthread_mutex_unlock(&in->lock);
    if (!i)
        return false;
    in->n--;
    *ret = i->result;
    free(i);
    return true;
}
