/*
 * listen: opens the listening socket. Owns the texts for what can go wrong there.
 */
#include "gateway/server.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG    1024
#define SEND_BYTES (256 << 10) /* kernel memory a slow reader can hold */

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

static int explain(const char *host, int port, int errnum, struct err *err)
{
    switch (errnum) {
    case EADDRINUSE:
        return err_set(
            err, ERR_EXISTS,
            "port %d on %s is taken, perhaps by another Hearth or by Ollama: stop it, or "
            "choose another port with --port",
            port, host);
    case EACCES:
        return err_set(err, ERR_DENIED,
                       "no permission to listen on port %d: choose a port from 1024 up with --port",
                       port);
    case EADDRNOTAVAIL:
        return err_set(err, ERR_INVALID,
                       "%s is not an address of this machine: choose another with --host", host);
    default:
        return err_set_errno(err, errnum, "cannot listen on %s port %d", host, port);
    }
}

static int port_of(int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        return 0;
    return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                         : ((struct sockaddr_in *)&a)->sin_port);
}

static int try_address(const struct addrinfo *a)
{
    int one = 1, bytes = SEND_BYTES;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int errnum = errno;
    close(fd);
    errno = errnum;
    return -1;
}

int listen_open(const char *host, int port, int *ret_fd, int *ret_port, bool *ret_loopback,
                struct err *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    int status = getaddrinfo(host, service, &hints, &list);
    if (status != 0)
        return err_set(err, ERR_INVALID,
                       "the host '%.100s' is not known (%s): give an address of this machine with "
                       "--host",
                       host, gai_strerror(status));
    int fd = -1, errnum = 0;
    /* localhost may be ::1 and 127.0.0.1: IPv4 first, where Ollama's clients look. */
    for (int pass = 0; pass < 2 && fd < 0; pass++)
        for (const struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
            if ((a->ai_family == AF_INET) != (pass == 0))
                continue;
            fd = try_address(a);
            if (fd < 0)
                errnum = errnum == 0 ? errno : errnum;
            else
                *ret_loopback = is_loopback(a->ai_addr);
        }
    freeaddrinfo(list);
    if (fd < 0)
        return explain(host, port, errnum, err);
    *ret_fd = fd;
    *ret_port = port_of(fd);
    return 0;
}
