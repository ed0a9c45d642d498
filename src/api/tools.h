/*
 * tools: what dialects share of tools: a checked list of them, and which are to be called.
 *
 * A dialect adds each tool while it reads the body and says what is to be called; api_tools_finish
 * (of api_request_finish) then checks the one against the other and puts the list into
 * gen.chat.tools, in OpenAI's shape:
 *   [{"type": "function", "function": {"name", "description"?, "parameters": {...}, "strict"?}}]
 * A model that may not call any is not shown the tools either.
 */
#ifndef HEARTH_API_TOOLS_H
#define HEARTH_API_TOOLS_H

#include "api/request.h"

#define API_TOOLS_MAX     1024
#define API_TOOL_NAME_MAX 128 /* bytes */

struct api_tool {
    struct str name;
    struct str description;   /* empty: none */
    const json_t *parameters; /* a JSON schema of an object; NULL or {}: no parameters */
    bool strict;              /* what of the schema cannot be enforced is refused */
};

/*
 * Adds a tool to r->tools. `where` is its place in the body ("tools[2].function"), for errors.
 * Names: 1 to API_TOOL_NAME_MAX bytes, no white space and none of "'`\<>(){}[],; each once.
 */
int api_tool_add(struct api_request *r, const char *where, const struct api_tool *t,
                 struct err *err) __attribute__((warn_unused_result));
/* {"type": "function", "function": {...}} into r->tools: OpenAI's (chat) and Ollama's shape. */
int api_tool_take(struct api_request *r, const char *where, const json_t *tool, struct err *err)
    __attribute__((warn_unused_result));

/* What is to be called. `param` is the client's name of the choice, for errors. `name` (empty: any)
 * may name a tool that is added later. */
int api_tools_choose(struct api_request *r, const char *param, enum gen_tool_choice choice,
                     struct str name, struct err *err) __attribute__((warn_unused_result));
/* Only tools of this name (and others so allowed) may be called: the others are taken out. */
int api_tools_allow(struct api_request *r, const char *param, struct str name, struct err *err)
    __attribute__((warn_unused_result));
/* The tool of this name in r->tools, or NULL; borrowed. */
const json_t *api_tool_find(const struct api_request *r, struct str name);
/* By api_request_finish, once all is read. ERR_INVALID: a name that is no tool, a call that is
 * demanded where there are no tools. */
int api_tools_finish(struct api_request *r, struct err *err) __attribute__((warn_unused_result));

/* The arguments of a call, as a model wrote them: an object, or NULL when they are none. More is
 * taken than in a request: keys that come twice, integers of any length. A new reference. */
json_t *api_call_arguments(struct str text);

#define API_CALL_ID_MAX 80
/* The id of one call of an answer, the same whenever it is asked for: "call_" and 24 letters and
 * digits for the prefix "call_". */
void api_call_id(const struct api_answer *a, const char *prefix, int i_choice, int64_t call,
                 char ret[API_CALL_ID_MAX]);

#endif
