/*
 * page: the chat page, bundled into the executable by web/bundle.py.
 *
 * The assets are constants; a path is matched exactly ("/" and "/assets/app.js").
 */
#ifndef HEARTH_GATEWAY_PAGE_H
#define HEARTH_GATEWAY_PAGE_H

#include <stddef.h>

struct page_asset {
    const char *path; /* "/", "/assets/app.js" */
    const char *type; /* Content-Type */
    const char *etag; /* quoted, of the bytes */
    const unsigned char *data;
    size_t len;
};

extern const struct page_asset page_assets[];
extern const size_t page_n_assets;

/* Content-Security-Policy of "/": nothing from another origin, no inline script or style. */
#define PAGE_CSP                                                                                   \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "              \
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

#endif
