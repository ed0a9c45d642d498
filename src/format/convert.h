/*
 * convert: a model as Hugging Face keeps it (a folder with config.json, model.safetensors, a
 * vocabulary) into a GGUF file. BERT and its kin only: MiniLM, BGE, cross-encoders.
 *
 * What it reads of the folder: config.json and model.safetensors; vocab.txt; tokenizer_config.json,
 * 1_Pooling/config.json (Sentence Transformers) where they are there. Untrusted bytes: sizes are
 * checked against the configuration, and that against the reader's limits when the file is opened.
 * Tensors are named as llama.cpp names them, so the file works there too.
 */
#ifndef HEARTH_FORMAT_CONVERT_H
#define HEARTH_FORMAT_CONVERT_H

#include "base/err.h"
#include "tensor/dtype.h"

/* type: of matrices, DTYPE_F16 or DTYPE_F32; vectors are F32. Nothing stands at out_path on
 * failure; replace false: ERR_EXISTS when something stood there before. */
int convert_folder(const char *folder, const char *name, enum dtype type, const char *out_path,
                   bool replace, struct err *err) __attribute__((warn_unused_result));

#endif
