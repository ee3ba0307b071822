/* Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
 *
 * main.c: classify windows of a file, or of standard input, on a computer.
 *
 *     mic [--text] [FILE]
 *
 * A window is MIC_CHANNELS * MIC_SAMPLES microvolts, channel by channel: 32-bit floating-point numbers as this
 * computer holds them, or with --text numbers with white space between them. Windows follow one another. Each gets a
 * line: its status, its label, the logits and the probabilities.
 */
#include <stdio.h>
#include <string.h>

#include "mic.h"

static float window[MIC_CHANNELS * MIC_SAMPLES];
static const char *const status_names[] = {"MIC_OK", "MIC_NOT_FINITE", "MIC_FLAT_CHANNEL", "MIC_SATURATED",
                                          "MIC_MORE", "MIC_MISSING_SAMPLES", "MIC_NOT_ALIGNED"};

/* how many numbers of the next window there are */
static int read_window(FILE *file, int is_text)
{
    int n = 0;
    if (!is_text)
        return (int)fread(window, sizeof(float), MIC_CHANNELS * MIC_SAMPLES, file);
    while (n < MIC_CHANNELS * MIC_SAMPLES && fscanf(file, "%f", &window[n]) == 1)
        n++;
    return n;
}

int main(int argc, char **argv)
{
    int is_text = argc > 1 && strcmp(argv[1], "--text") == 0, n, label, i;
    const char *path = argc > 1 + is_text ? argv[1 + is_text] : NULL;
    FILE *file = path ? fopen(path, is_text ? "r" : "rb") : stdin;
    float logits[MIC_LABELS], probabilities[MIC_LABELS];
    if (!file) {
        fprintf(stderr, "mic: there is no file %s that can be read\n", path);
        return 2;
    }
    while ((n = read_window(file, is_text)) == MIC_CHANNELS * MIC_SAMPLES) {
        enum mic_status status = mic_classify(window, &label, logits);
        printf("%s\t%s", status_names[status], status == MIC_OK ? mic_label_names[label] : "-");
        if (status == MIC_OK) {
            mic_softmax(logits, probabilities);
            for (i = 0; i < MIC_LABELS; i++)
                printf("\t%.9g\t%.6f", (double)logits[i], (double)probabilities[i]);
        }
        printf("\n");
    }
    if (n != 0 || (is_text && !feof(file))) {
        fprintf(stderr, "mic: the input ends after %d of the %d numbers of a window (%d channels of %d samples)\n", n,
                MIC_CHANNELS * MIC_SAMPLES, MIC_CHANNELS, MIC_SAMPLES);
        return 1;
    }
    return 0;
}
