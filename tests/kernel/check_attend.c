#include "check.h"
void check_attend(const struct kernels *k)
{
    (void)k;
}
