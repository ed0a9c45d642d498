/*
 * schema_format: the formats that are enforced, as patterns. Where a format is wider than what is
 * useful (addresses in quotes, hosts of 253 characters), the pattern is the useful part of it.
 */
#include "grammar/schema_plan.h"

#include <string.h>

/* RFC 3339. Days exist: 31 in long months, 29 February in leap years; no year 0000, no leap
 * second. */
#define LEAP_YEAR                                                                                  \
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
#define YEAR "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
#define DATE                                                                                       \
    "(?:" YEAR "-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"                                 \
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|" LEAP_YEAR "-02-29)"
#define TIME                                                                                       \
    "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,6})?"                                 \
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"

/* RFC 3339, appendix A */
#define N          "(?:0|[1-9][0-9]{0,5})"
#define DUR_SECOND N "S"
#define DUR_MINUTE N "M(?:" DUR_SECOND ")?"
#define DUR_HOUR   N "H(?:" DUR_MINUTE ")?"
#define DUR_TIME   "T(?:" DUR_HOUR "|" DUR_MINUTE "|" DUR_SECOND ")"
#define DUR_MONTH  N "M(?:" N "D)?"
#define DUR_DATE   "(?:" N "D|" DUR_MONTH "|" N "Y(?:" DUR_MONTH ")?)"
#define DURATION   "P(?:" DUR_DATE "(?:" DUR_TIME ")?|" DUR_TIME "|" N "W)"

#define LABEL(n) "[A-Za-z0-9](?:[A-Za-z0-9-]{0," #n "}[A-Za-z0-9])?"
/* the last label begins with a letter, so that no address in numbers looks like a name */
#define HOST  "(?:" LABEL(28) "\\.){0,6}[A-Za-z](?:[A-Za-z0-9-]{0,28}[A-Za-z0-9])?"
#define ATOM  "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,30}"
#define EMAIL ATOM "(?:\\." ATOM ")?@" HOST
/* at most 96 and 40 characters, for strings of a length that the whole does not fit into */
#define SHORT_HOST  "(?:" LABEL(10) "\\.){0,3}[A-Za-z](?:[A-Za-z0-9-]{0,10}[A-Za-z0-9])?"
#define SHORT_EMAIL "[A-Za-z0-9_+-]{1,24}(?:\\.[A-Za-z0-9_+-]{1,20})?@" SHORT_HOST
#define TINY_HOST   "(?:" LABEL(8) "\\.)?[A-Za-z](?:[A-Za-z0-9-]{0,8}[A-Za-z0-9])?"
#define TINY_EMAIL  "[A-Za-z0-9_-]{1,18}@" TINY_HOST

#define OCTET "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
#define IPV4  OCTET "(?:\\." OCTET "){3}"
#define H     "[0-9A-Fa-f]{1,4}"
#define LS32  "(?:" H ":" H "|" IPV4 ")"
/* RFC 3986, IPv6address */
#define IPV6                                                                                       \
    "(?:(?:" H ":){6}" LS32 "|::(?:" H ":){5}" LS32 "|(?:" H ")?::(?:" H ":){4}" LS32 "|(?:(?:" H  \
    ":){0,1}" H ")?::(?:" H ":){3}" LS32 "|(?:(?:" H ":){0,2}" H ")?::(?:" H ":){2}" LS32          \
    "|(?:(?:" H ":){0,3}" H ")?::" H ":" LS32 "|(?:(?:" H ":){0,4}" H ")?::" LS32 "|(?:(?:" H      \
    ":){0,5}" H ")?::" H "|(?:(?:" H ":){0,6}" H ")?::)"

#define UUID "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"

/* RFC 3986, without user names; lengths are bounded, so that one ends */
#define PCHAR     "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
#define QUERY     "(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2}){0,512}"
#define AUTHORITY "(?:" HOST "|" IPV4 ")(?::[0-9]{1,5})?"
#define PATH      "(?:/" PCHAR "{0,128}){0,16}"
#define TAIL      "(?:\\?" QUERY ")?(?:#" QUERY ")?"
#define URI                                                                                        \
    "[A-Za-z][A-Za-z0-9+.-]{0,15}:(?://" AUTHORITY PATH "|" PCHAR "{1,128}(?:/" PCHAR              \
    "{0,128}){0,16})" TAIL

/* of any length */
#define GIVEN_URI                                                                                  \
    "[A-Za-z][A-Za-z0-9+.-]*:(?://" AUTHORITY "(?:/" PCHAR "*)*|" PCHAR "+(?:/" PCHAR              \
    "*)*)(?:\\?(?:" PCHAR "|[/?])*)?(?:#(?:" PCHAR "|[/?])*)?"
/* at most 997 and 199 characters */
#define NARROW_URI(host, segment, segments, query)                                                 \
    "[A-Za-z][A-Za-z0-9+.-]{0,11}:(?://(?:" host "|" IPV4 ")(?::[0-9]{1,5})?(?:/" PCHAR            \
    "{0," #segment "}){0," #segments "}|" PCHAR "{1," #segment "})(?:\\?" PCHAR "{0," #query       \
    "})?(?:#" PCHAR "{0," #query "})?"
#define SHORT_URI NARROW_URI(SHORT_HOST, 24, 8, 48)
#define TINY_URI  NARROW_URI(TINY_HOST, 10, 3, 8)

static const struct schema_format formats[] = {
    {.name = "date", .regex = "^" DATE "$"},
    {.name = "time", .regex = "^" TIME "$"},
    {.name = "date-time", .regex = "^" DATE "T" TIME "$"},
    {.name = "duration", .regex = "^" DURATION "$"},
    {.name = "email", .regex = "^" EMAIL "$", .narrow = {"^" SHORT_EMAIL "$", "^" TINY_EMAIL "$"}},
    {.name = "hostname", .regex = "^" HOST "$", .narrow = {"^" SHORT_HOST "$", "^" TINY_HOST "$"}},
    {.name = "ipv4", .regex = "^" IPV4 "$"},
    {.name = "ipv6", .regex = "^" IPV6 "$"},
    {.name = "uuid", .regex = "^" UUID "$"},
    {.name = "uri",
     .regex = "^" URI "$",
     .narrow = {"^" SHORT_URI "$", "^" TINY_URI "$"},
     .given = "^" GIVEN_URI "$"},
};

const struct schema_format *schema_format_find(struct str name)
{
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
        if (str_eq_z(name, formats[i].name))
            return &formats[i];
    return NULL;
}
