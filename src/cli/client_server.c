/*
 * client_server: a private server for `hearth run` where none is running. It listens on a free port
 * of loopback, says on a pipe where, and is told to end when we end, however that happens. The keys
 * of the user's own server are none of its business: it has one key, made for it, which goes
 * through the environment, where others cannot see it.
 */
#include "cli/client.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX 48
#define SAID_MAX (64 * 1024)
#define STOP_MS  5000

struct pipes {
    int out[2]; /* its standard output: where it serves */
    int log;    /* its standard error: why it could not */
};

__attribute__((noreturn)) static void become_server(const struct pipes *p, char *const *argv,
                                                    char *const *env, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1);
    setpgid(0, 0); /* Ctrl-C at our terminal is for us */
    int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    dup2(p->out[1], STDOUT_FILENO);
    dup2(p->log, STDERR_FILENO);
    execve("/proc/self/exe", argv, env);
    _exit(127);
}

/* "... serves at http://127.0.0.1:PORT/" */
static bool parse_port(struct str said, int *ret)
{
    ptrdiff_t at = str_find(said, STR("http://127.0.0.1:"));
    if (at < 0)
        return false;
    struct str s = str_from(said, (size_t)at + strlen("http://127.0.0.1:"));
    size_t n = 0;
    while (n < s.len && s.ptr[n] >= '0' && s.ptr[n] <= '9')
        n++;
    int64_t port;
    if (n == s.len || !str_to_i64(str_sub(s, 0, n), &port) || port < 1 || port > 65535)
        return false;
    *ret = (int)port;
    return true;
}

/* The last line that the server wrote for people. */
static int server_failed(int log, struct err *err)
{
    struct buf text;
    buf_init(&text, SAID_MAX);
    char chunk[4096];
    off_t end = lseek(log, 0, SEEK_END);
    lseek(log, end > SAID_MAX - 1 ? end - (SAID_MAX - 1) : 0, SEEK_SET);
    for (ssize_t n; (n = read(log, chunk, sizeof(chunk))) > 0;)
        buf_add(&text, chunk, (size_t)n);
    struct str rest = buf_str(&text), line, found = STR("");
    while (str_split(&rest, '\n', &line))
        if (str_starts(line, STR("hearth: ")))
            found = str_from(line, strlen("hearth: "));
    int rc = found.len > 0 ? err_set(err, ERR_UNAVAILABLE, "%.*s", STR_ARG(str_sub(found, 0, 600)))
                           : err_set(err, ERR_UNAVAILABLE,
                                     "the server could not start; 'hearth serve' shows why");
    buf_release(&text);
    return rc;
}

static int wait_ready(const struct pipes *p, int *ret_port, const volatile sig_atomic_t *stop,
                      struct err *err)
{
    struct buf said;
    buf_init(&said, SAID_MAX);
    int rc = 0;
    while (!parse_port(buf_str(&said), ret_port)) {
        struct pollfd fd = {.fd = p->out[0], .events = POLLIN};
        char chunk[512];
        if (*stop != 0) {
            rc = err_set(err, ERR_CANCELLED, "interrupted");
            break;
        }
        if (poll(&fd, 1, 100) <= 0)
            continue;
        ssize_t n = read(p->out[0], chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || !buf_add(&said, chunk, (size_t)n)) {
            rc = server_failed(p->log, err);
            break;
        }
    }
    buf_release(&said);
    return rc;
}

static void make_args(const char *model, const char *const *more, const char *argv[ARGS_MAX])
{
    static const char *const fixed[] = {"hearth", "serve",      "--host",  "127.0.0.1", "--port",
                                        "0",      "--no-quiet", "--state", "off"};
    size_t n = 0;
    for (; n < ARRAY_LEN(fixed); n++)
        argv[n] = fixed[n];
    for (size_t i = 0; more[i] != NULL; i++) {
        CHECK(n < ARGS_MAX - 4);
        argv[n++] = more[i];
    }
    argv[n++] = "--";
    argv[n++] = model;
    argv[n] = NULL;
}

static void make_key(char ret[CLIENT_SERVER_KEY_LEN + 1])
{
    unsigned char raw[CLIENT_SERVER_KEY_LEN / 2];
    rng_system(raw, sizeof(raw));
    for (size_t i = 0; i < sizeof(raw); i++)
        snprintf(ret + 2 * i, 3, "%02x", raw[i]);
}

/* Ours, but for the keys; text: room for the first entry. Heap; owned. */
static const char **make_env(const char *key, char text[80])
{
    static const char *const ours[] = {"HEARTH_API_KEY=", "HEARTH_KEYS="};
    size_t n = 0;
    while (environ[n] != NULL)
        n++;
    const char **env = mem_zero(n + 3, sizeof(*env)), **at = env;
    snprintf(text, 80, "%s%s", ours[0], key);
    *at++ = text;
    *at++ = "HEARTH_KEYS=/dev/null/none"; /* there is no such file, nowhere */
    for (size_t i = 0; i < n; i++)
        if (!str_starts(str_z(environ[i]), str_z(ours[0])) &&
            !str_starts(str_z(environ[i]), str_z(ours[1])))
            *at++ = environ[i];
    return env;
}

int client_server_start(struct client_server *s, const char *model, const char *const *args,
                        struct client *ret_client, const volatile sig_atomic_t *stop,
                        struct err *err)
{
    const char *argv[ARGS_MAX];
    struct pipes p = {.log = -1};
    FILE *log = tmpfile();
    if (log == NULL || pipe2(p.out, O_CLOEXEC) != 0) {
        int e = errno;
        if (log != NULL)
            fclose(log);
        return err_set_errno(err, e, "cannot start a server");
    }
    p.log = fileno(log);
    fcntl(p.log, F_SETFD, FD_CLOEXEC);
    char key_text[80];
    make_args(model, args, argv);
    make_key(s->key);
    const char **env = make_env(s->key, key_text);
    fflush(NULL);
    pid_t parent = getpid();
    s->pid = fork();
    if (s->pid == 0)
        become_server(&p, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)env, parent);
    free(env);
    close(p.out[1]);
    int port = 0;
    int rc = s->pid < 0 ? err_set_errno(err, errno, "cannot start a server")
                        : wait_ready(&p, &port, stop, err);
    /* The rest of the banner has no reader: the pipe stays open so that writing it cannot fail. */
    if (rc != 0)
        close(p.out[0]);
    fclose(log);
    if (rc != 0) {
        client_server_stop(s);
        return rc;
    }
    snprintf(s->host, sizeof(s->host), "127.0.0.1");
    ret_client->host = s->host;
    ret_client->port = port;
    ret_client->api_key = s->key;
    return 0;
}

void client_server_stop(struct client_server *s)
{
    if (s->pid <= 0)
        return;
    kill(s->pid, SIGTERM);
    for (int64_t end = clock_ms() + STOP_MS; waitpid(s->pid, NULL, WNOHANG) == 0;) {
        if (clock_ms() > end)
            kill(s->pid, SIGKILL);
        usleep(20 * 1000);
    }
    s->pid = 0;
}
