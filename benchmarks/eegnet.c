/* Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
 *
 * eegnet.c: EEGNet (Lawhern et al. 2018, doi:10.1088/1741-2552/aace8c, as braindecode builds it) on the chip, in place
 * of mic.c, so that chip.py measures both by one path. It is folded as far as it goes: batch norms lie in the weights,
 * and channels are mixed before the temporal filters, which are linear, instead of after.
 *
 * mic_weights.h, which chip.py writes, has the shapes and the weights. Windows are checked for numbers that are not
 * finite alone. Of the C library, expf.
 */
#include <math.h>

#define MIC_WITH_WEIGHTS
#include "mic.h"

#define HALF (EEGNET_TAPS / 2)
#define DEEP_HALF (EEGNET_DEEP_TAPS / 2)

/* both with the zeros that the convolutions pad with */
static float mixed[MIC_SAMPLES + 2 * HALF];
static float pooled[EEGNET_FILTERS][EEGNET_POOLED + 2 * DEEP_HALF];
static float features[EEGNET_FILTERS * EEGNET_POOLED_TWICE];

static float elu(float x) { return x > 0.0f ? x : expf(x) - 1.0f; }

/* one filter: channels mixed, then time, then the mean of every EEGNET_POOL outputs */
static void filter(const float *window, int f)
{
    const float *mix = &eegnet_mix[f * MIC_CHANNELS], *taps = &eegnet_taps[f / EEGNET_DEPTH * EEGNET_TAPS];
    int c, t, k, p;
    for (t = 0; t + 4 <= MIC_SAMPLES; t += 4) {
        float a = 0.0f, b = 0.0f, d = 0.0f, e = 0.0f;
        const float *x = window + t;
        for (c = 0; c < MIC_CHANNELS; c++, x += MIC_SAMPLES) {
            a += mix[c] * x[0];
            b += mix[c] * x[1];
            d += mix[c] * x[2];
            e += mix[c] * x[3];
        }
        mixed[HALF + t] = a;
        mixed[HALF + t + 1] = b;
        mixed[HALF + t + 2] = d;
        mixed[HALF + t + 3] = e;
    }
    for (p = 0; p < EEGNET_POOLED; p++) {
        const float *x = mixed + 4 * p;
        float a = eegnet_shift[f], b = a, d = a, e = a;
        for (k = 0; k < EEGNET_TAPS; k++, x++) {
            a += taps[k] * x[0];
            b += taps[k] * x[1];
            d += taps[k] * x[2];
            e += taps[k] * x[3];
        }
        pooled[f][DEEP_HALF + p] = 0.25f * (elu(a) + elu(b) + elu(d) + elu(e));
    }
}

/* the separable convolution at one place: in time, then across filters */
static void separable(int t, float *sums)
{
    float deep[EEGNET_FILTERS];
    int f, g, k;
    for (f = 0; f < EEGNET_FILTERS; f++) {
        const float *x = &pooled[f][t], *taps = &eegnet_deep_taps[f * EEGNET_DEEP_TAPS];
        deep[f] = 0.0f;
        for (k = 0; k < EEGNET_DEEP_TAPS; k++)
            deep[f] += taps[k] * x[k];
    }
    for (g = 0; g < EEGNET_FILTERS; g++) {
        float sum = eegnet_deep_shift[g];
        for (f = 0; f < EEGNET_FILTERS; f++)
            sum += eegnet_point[g * EEGNET_FILTERS + f] * deep[f];
        sums[g] += elu(sum) * (1.0f / EEGNET_POOL_TWICE);
    }
}

void mic_forward(const float *window, float *logits)
{
    int f, i, p, t;
    for (f = 0; f < EEGNET_FILTERS; f++)
        filter(window, f);
    for (p = 0; p < EEGNET_POOLED_TWICE; p++) {
        float sums[EEGNET_FILTERS] = {0.0f};
        for (t = 0; t < EEGNET_POOL_TWICE; t++)
            separable(p * EEGNET_POOL_TWICE + t, sums);
        for (f = 0; f < EEGNET_FILTERS; f++)
            features[f * EEGNET_POOLED_TWICE + p] = sums[f];
    }
    for (i = 0; i < MIC_LABELS; i++) {
        const float *row = &eegnet_head[i * EEGNET_FILTERS * EEGNET_POOLED_TWICE];
        logits[i] = eegnet_head_bias[i];
        for (f = 0; f < EEGNET_FILTERS * EEGNET_POOLED_TWICE; f++)
            logits[i] += row[f] * features[f];
    }
}

enum mic_status mic_classify(const float *window, int *label, float *logits)
{
    int i;
    mic_forward(window, logits);
    *label = 0;
    for (i = 0; i < MIC_LABELS; i++) {
        if (!isfinite(logits[i])) {
            *label = MIC_NO_LABEL;
            return MIC_NOT_FINITE;
        }
        if (logits[i] > logits[*label])
            *label = i;
    }
    return MIC_OK;
}
