/*
 * access: who may ask. The Host header against DNS rebinding, the Origin header against other web
 * pages, the key against everybody else.
 *
 * A web page from anywhere can make a browser on this machine send requests to 127.0.0.1. It
 * cannot forge Host (its own name, when that name was rebound to 127.0.0.1) nor Origin, so those
 * two tell it from the page that is served here and from programs, which send no Origin.
 */
#include "gateway/server.h"

#include <string.h>

/* Cuts ":port" off; brackets of an IPv6 address are kept. */
static struct str host_name(struct str host)
{
    ptrdiff_t bracket = str_rchr(host, ']');
    ptrdiff_t colon = str_rchr(host, ':');
    return colon > bracket ? str_sub(host, 0, (size_t)colon) : host;
}

static bool is_loopback_name(struct str name)
{
    int64_t part;
    struct str rest = name, piece;
    if (str_eq_nocase(name, STR("localhost")) || str_eq_z(name, "[::1]"))
        return true;
    size_t suffix = strlen(".localhost");
    if (name.len > suffix && str_eq_nocase(str_from(name, name.len - suffix), STR(".localhost")))
        return true;
    if (!str_starts(name, STR("127.")))
        return false;
    int n = 0;
    while (str_split(&rest, '.', &piece)) /* 127.x.y.z and not 127.evil.example */
        if (++n > 4 || !str_to_i64(piece, &part) || part < 0 || part > 255)
            return false;
    return n == 4;
}

int access_check_host(const struct server *s, const char *host, struct err *err)
{
    if (!s->loopback)
        return 0; /* reachable under names we cannot know; the key stands guard there */
    struct str name = host_name(str_z(host));
    if (host == NULL || is_loopback_name(name) || str_eq_nocase(name, str_z(s->opts.host)))
        return 0;
    return err_set(err, ERR_DENIED,
                   "the host '%.100s' is not served: this server answers as localhost only (use "
                   "--host to serve a network)",
                   host);
}

int access_check_origin(const char *origin, const char *host, struct err *err)
{
    if (origin == NULL)
        return 0;
    struct str rest = str_z(origin);
    ptrdiff_t scheme = str_find(rest, STR("://"));
    if (scheme >= 0 && host != NULL &&
        str_eq_nocase(str_from(rest, (size_t)scheme + 3), str_z(host)))
        return 0;
    return err_set(err, ERR_DENIED, "pages of the origin '%.100s' may not use this server", origin);
}

int access_identify(struct server *s, const struct exchange *x, struct caller *ret, struct err *err)
{
    return callers_identify(&s->callers, exchange_header(x, "Authorization"),
                            exchange_header(x, "x-api-key"), ret, err);
}
