/* Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
 *
 * mic.c: the network of mic.h. Each part names the Python that it mirrors, in dlink_hf/models/mic/folded.py.
 *
 * A window of C channels (MIC_CHANNELS) is cut into P patches (MIC_PATCHES) of L samples (MIC_PATCH). Every patch of
 * every channel becomes a token of d numbers (MIC_WIDTH): log powers of learned bands and averages of the samples,
 * mapped to d numbers, plus a vector of the electrode's place. Blocks then mix tokens: attention over the channels
 * of a patch, a convolution over the patches of a channel, and a small network for each token. At last K slots
 * (MIC_SLOTS), at places on the head, each take a weighted mean over the channels, and one linear map makes logits.
 */
#include <math.h>
#include <stdint.h>

#include "mic.h"

/* One linear map: y = weight x + bias, weight (n_out, n_in) row by row; bias may be absent. In int8 a row's weights
 * are 8-bit whole numbers times the row's scale. */
#if MIC_INT8
typedef int8_t mic_weight;
#else
typedef float mic_weight;
#endif
typedef struct {
    const mic_weight *weight;
    const float *scale;
    const float *bias;
    int n_out, n_in;
} mic_linear;

/* FoldedBlock: the scale of the scores is in qkv's first d rows, norms' scales and shifts are in the maps behind */
typedef struct {
    mic_linear qkv, out, mlp_in, mlp_out;
    const float *time_scale, *time_shift; /* (d,) */
    const float *taps, *taps_bias;        /* (3, d): of the patch before, this one, the one after; (d,) */
} mic_block;

#define MIC_WITH_WEIGHTS
#include "mic_weights.h"

#define MIC_HEAD_WIDTH (MIC_WIDTH / MIC_HEADS)
#define MIC_FEATURES (MIC_FILTERS + MIC_SLOW)

/* All the memory there is. What is never needed at the same time lies at the same place. */
static float tokens[MIC_CHANNELS][MIC_PATCHES][MIC_WIDTH];
static union {
    float features[MIC_FEATURES];
    struct {
        /* queries, keys and values of one patch; what is mixed replaces the queries */
        float qkv[MIC_CHANNELS][3 * MIC_WIDTH];
        float shares[MIC_CHANNELS];
        float normed[MIC_WIDTH];
    } attention;
    float series[MIC_PATCHES][MIC_WIDTH];
    struct {
        float normed[MIC_WIDTH];
        float inner[MIC_INNER];
    } mlp;
    struct {
        float shares[MIC_SLOTS][MIC_CHANNELS];
        float slots[MIC_SLOTS][MIC_PATCHES][MIC_COMPRESSED];
        float mean[MIC_WIDTH];
        float normed[MIC_WIDTH];
        float mimic[MIC_MIMIC];
        float values[MIC_COMPRESSED];
    } head;
} scratch;

#if MIC_SIGNED
/* what the signed path adds to the logits */
static float evoked[MIC_LABELS];
#endif

typedef union {
    float number;
    uint32_t bits;
} mic_bits;

/* ---------------------------------------------------------------- functions of one number, in single precision */

/* e^x for x <= 0 (softmax and GELU need no other), relative error below 2e-7; 0 below -87 */
static float exp_(float x)
{
    mic_bits power;
    float whole, y;
    if (x < -87.0f)
        return 0.0f;
    whole = (float)(int)(x * 1.44269504f - 0.5f); /* x = whole ln 2 + rest, |rest| <= ln 2 / 2 */
    x = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    y = 1.9875691500e-4f;
    y = y * x + 1.3981999507e-3f;
    y = y * x + 8.3334519073e-3f;
    y = y * x + 4.1665795894e-2f;
    y = y * x + 1.6666665459e-1f;
    y = y * x + 5.0000001201e-1f;
    y = y * x * x + x + 1.0f;
    power.bits = (uint32_t)((int)whole + 127) << 23;
    return y * power.number;
}

/* ln x for x of normal size, error below 2e-7 of the larger of 1 and |ln x| */
static float log_(float x)
{
    mic_bits mantissa;
    int exponent;
    float y, z, power;
    mantissa.number = x;
    exponent = (int)(mantissa.bits >> 23) - 126;
    mantissa.bits = (mantissa.bits & 0x7fffffu) | 0x3f000000u; /* 0.5 ... 1 */
    x = mantissa.number;
    if (x < 0.707106781f) {
        exponent -= 1;
        x += x;
    }
    x -= 1.0f;
    z = x * x;
    y = 7.0376836292e-2f;
    y = y * x - 1.1514610310e-1f;
    y = y * x + 1.1676998740e-1f;
    y = y * x - 1.2420140846e-1f;
    y = y * x + 1.4249322787e-1f;
    y = y * x - 1.6668057665e-1f;
    y = y * x + 2.0000714765e-1f;
    y = y * x - 2.4999993993e-1f;
    y = y * x + 3.3333331174e-1f;
    y *= x * z;
    power = (float)exponent;
    return ((y - 2.12194440e-4f * power) - 0.5f * z) + x + 0.693359375f * power;
}

/* GELU, x (1 + erf(x / sqrt 2)) / 2, error below 5e-7: erf by formula 7.1.26 of Abramowitz and Stegun */
static float gelu(float x)
{
    float size = fabsf(x) * 0.707106781f, t = 1.0f / (1.0f + 0.3275911f * size), tail;
    tail = 1.061405429f;
    tail = tail * t - 1.453152027f;
    tail = tail * t + 1.421413741f;
    tail = tail * t - 0.284496736f;
    tail = tail * t + 0.254829592f;
    tail *= 0.5f * t * exp_(-size * size); /* of the normal distribution, beyond |x| */
    return x >= 0.0f ? x - x * tail : x * tail;
}

/* ---------------------------------------------------------------- functions of vectors */

static float dot(const float *a, const float *b, int n)
{
    float sum = 0.0f;
    int i;
    for (i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* y (n_out,) = weight x + bias; x and y are different arrays */
static void linear(const mic_linear *map, const float *x, float *y)
{
    const int n = map->n_in;
    const mic_weight *row = map->weight;
    int o = 0, i;
#if MIC_INT8
    /* x in whole numbers up to MIC_STEPS, few enough for sums of products to fit in 32 bits */
    static int16_t steps[MIC_WIDEST];
    float largest = 0.0f, step, per_step;
    for (i = 0; i < n; i++)
        if (fabsf(x[i]) > largest)
            largest = fabsf(x[i]);
    step = largest / (float)MIC_STEPS;
    per_step = largest > 0.0f ? (float)MIC_STEPS / largest : 0.0f;
    for (i = 0; i < n; i++)
        steps[i] = (int16_t)(x[i] * per_step + (x[i] < 0.0f ? -0.5f : 0.5f));
#define SUM int32_t
#define X steps
#define SCALED(sum, o) ((float)(sum) * step * map->scale[o])
#else
#define SUM float
#define X x
#define SCALED(sum, o) (sum)
#endif
    /* four rows at a time read x once */
    for (; o + 4 <= map->n_out; o += 4, row += 4 * n) {
        SUM a = 0, b = 0, c = 0, d = 0;
        for (i = 0; i < n; i++) {
            const SUM value = X[i];
            a += value * row[i];
            b += value * row[n + i];
            c += value * row[2 * n + i];
            d += value * row[3 * n + i];
        }
        y[o] = SCALED(a, o);
        y[o + 1] = SCALED(b, o + 1);
        y[o + 2] = SCALED(c, o + 2);
        y[o + 3] = SCALED(d, o + 3);
    }
    for (; o < map->n_out; o++, row += n) {
        SUM a = 0;
        for (i = 0; i < n; i++)
            a += X[i] * row[i];
        y[o] = SCALED(a, o);
    }
    if (map->bias)
        for (o = 0; o < map->n_out; o++)
            y[o] += map->bias[o];
#undef SUM
#undef X
#undef SCALED
}

/* F.layer_norm without scale and shift: mean 0 and variance 1 */
static void norm(const float *x, float *y, int n)
{
    float mean = 0.0f, variance = 0.0f, scale;
    int i;
    for (i = 0; i < n; i++)
        mean += x[i];
    mean /= (float)n;
    for (i = 0; i < n; i++) {
        y[i] = x[i] - mean;
        variance += y[i] * y[i];
    }
    scale = 1.0f / sqrtf(variance / (float)n + MIC_EPS);
    for (i = 0; i < n; i++)
        y[i] *= scale;
}

/* softmax in place */
static void softmax(float *x, int n)
{
    float largest = x[0], sum = 0.0f;
    int i;
    for (i = 1; i < n; i++)
        if (x[i] > largest)
            largest = x[i];
    for (i = 0; i < n; i++) {
        x[i] = exp_(x[i] - largest);
        sum += x[i];
    }
    sum = 1.0f / sum;
    for (i = 0; i < n; i++)
        x[i] *= sum;
}

/* sum += share x */
static void add_scaled(float *sum, const float *x, float share, int n)
{
    int i;
    for (i = 0; i < n; i++)
        sum[i] += share * x[i];
}

/* ---------------------------------------------------------------- the network */

/* FoldedFilterBank.forward of one patch (L,) in microvolts: MIC_FEATURES numbers. A filter is a pair of kernels; its
 * power is the sum of their squares, averaged over the positions in the patch. */
static void filter_bank(const float *patch, float *features)
{
    int f, s, i, first;
    for (f = 0; f < MIC_FILTERS; f++) {
        const float *cosine = mic_kernels + f * MIC_FILTER_SIZE;
        const float *sine = mic_kernels + (MIC_FILTERS + f) * MIC_FILTER_SIZE;
        float power = 0.0f;
        for (first = 0; first + MIC_FILTER_SIZE <= MIC_PATCH; first += MIC_FILTER_STRIDE) {
            const float *x = patch + first;
            float a = 0.0f, b = 0.0f;
            for (i = 0; i < MIC_FILTER_SIZE; i++) {
                a += x[i] * cosine[i];
                b += x[i] * sine[i];
            }
            power += a * a + b * b;
        }
        features[f] = log_(power / (float)MIC_FILTER_POSITIONS + MIC_FLOOR);
    }
    for (s = 0; s < MIC_SLOW; s++) {
        float sum = 0.0f;
        for (i = 0; i < MIC_PATCH / MIC_SLOW; i++)
            sum += *patch++;
        features[MIC_FILTERS + s] = sum * MIC_SLOW_SCALE;
    }
}

/* FoldedBlock.mix and what follows it: attention over the channels of patch p */
static void attend(const mic_block *block, int p)
{
    float(*const qkv)[3 * MIC_WIDTH] = scratch.attention.qkv;
    float *const shares = scratch.attention.shares, *const normed = scratch.attention.normed;
    int c, other, head, i;
    for (c = 0; c < MIC_CHANNELS; c++) {
        norm(tokens[c][p], normed, MIC_WIDTH);
        linear(&block->qkv, normed, qkv[c]);
    }
    for (head = 0; head < MIC_HEADS; head++) {
        for (c = 0; c < MIC_CHANNELS; c++) {
            float *const query = qkv[c] + head * MIC_HEAD_WIDTH;
            for (other = 0; other < MIC_CHANNELS; other++)
                shares[other] = dot(query, qkv[other] + MIC_WIDTH + head * MIC_HEAD_WIDTH, MIC_HEAD_WIDTH);
            softmax(shares, MIC_CHANNELS);
            for (i = 0; i < MIC_HEAD_WIDTH; i++)
                query[i] = 0.0f;
            for (other = 0; other < MIC_CHANNELS; other++)
                add_scaled(query, qkv[other] + 2 * MIC_WIDTH + head * MIC_HEAD_WIDTH, shares[other], MIC_HEAD_WIDTH);
        }
    }
    for (c = 0; c < MIC_CHANNELS; c++) {
        linear(&block->out, qkv[c], normed);
        add_scaled(tokens[c][p], normed, 1.0f, MIC_WIDTH);
    }
}

/* FoldedBlock.over_time and what is around it: a convolution over the patches of channel c, three taps for each of
 * the d numbers, zeros beyond the window */
static void convolve(const mic_block *block, int c)
{
    float(*const series)[MIC_WIDTH] = scratch.series;
    const float *before = block->taps, *here = before + MIC_WIDTH, *after = here + MIC_WIDTH;
    int p, i;
    for (p = 0; p < MIC_PATCHES; p++) {
        norm(tokens[c][p], series[p], MIC_WIDTH);
        for (i = 0; i < MIC_WIDTH; i++)
            series[p][i] = series[p][i] * block->time_scale[i] + block->time_shift[i];
    }
    for (p = 0; p < MIC_PATCHES; p++)
        for (i = 0; i < MIC_WIDTH; i++) {
            float sum = block->taps_bias[i] + series[p][i] * here[i];
            if (p > 0)
                sum += series[p - 1][i] * before[i];
            if (p + 1 < MIC_PATCHES)
                sum += series[p + 1][i] * after[i];
            tokens[c][p][i] += gelu(sum);
        }
}

/* The last lines of FoldedBlock.forward: a network of two layers for a token */
static void perceive(const mic_block *block, float *token)
{
    float *const normed = scratch.mlp.normed, *const inner = scratch.mlp.inner;
    int i;
    norm(token, normed, MIC_WIDTH);
    linear(&block->mlp_in, normed, inner);
    for (i = 0; i < MIC_INNER; i++)
        inner[i] = gelu(inner[i]);
    linear(&block->mlp_out, inner, normed);
    add_scaled(token, normed, 1.0f, MIC_WIDTH);
}

/* The second half of MiCInference.forward: slots on the head take weighted means over the channels, of values that
 * come by way of the mimic state, and the head makes logits of them */
static void compress(float *logits)
{
    int k, c, p, i;
    for (c = 0; c < MIC_CHANNELS; c++) {
        for (i = 0; i < MIC_WIDTH; i++)
            scratch.head.mean[i] = 0.0f;
        for (p = 0; p < MIC_PATCHES; p++)
            add_scaled(scratch.head.mean, tokens[c][p], 1.0f / MIC_PATCHES, MIC_WIDTH);
        for (k = 0; k < MIC_SLOTS; k++)
            scratch.head.shares[k][c] =
                dot(mic_match + k * MIC_WIDTH, scratch.head.mean, MIC_WIDTH) + mic_near[k * MIC_CHANNELS + c];
    }
    for (k = 0; k < MIC_SLOTS; k++) {
        softmax(scratch.head.shares[k], MIC_CHANNELS);
        for (p = 0; p < MIC_PATCHES; p++)
            for (i = 0; i < MIC_COMPRESSED; i++)
                scratch.head.slots[k][p][i] = 0.0f;
    }
    for (c = 0; c < MIC_CHANNELS; c++)
        for (p = 0; p < MIC_PATCHES; p++) {
            norm(tokens[c][p], scratch.head.normed, MIC_WIDTH);
            linear(&mic_mimic, scratch.head.normed, scratch.head.mimic);
            norm(scratch.head.mimic, scratch.head.mimic, MIC_MIMIC);
            linear(&mic_features, scratch.head.mimic, scratch.head.values);
            for (k = 0; k < MIC_SLOTS; k++)
                add_scaled(scratch.head.slots[k][p], scratch.head.values, scratch.head.shares[k][c], MIC_COMPRESSED);
        }
    linear(&mic_head, scratch.head.slots[0][0], logits);
}

#if MIC_ALIGNED
#define MIC_HALF_TAPS (MIC_ALIGNMENT_TAPS / 2)
/* of the session's subject: what was given at the export, if anything was, until the firmware says another */
static const mic_alignment *alignment = MIC_ALIGNMENT_GIVEN ? &mic_given_alignment : 0;
static float line[MIC_SAMPLES + 2 * MIC_HALF_TAPS]; /* a channel, mixed, before and after it its mirror image */
static float filtered[MIC_PATCH];

void mic_set_alignment(const mic_alignment *of_the_subject) { alignment = of_the_subject; }

/* Fill the line with channel c of a window */
static void mix(const float *window, int c)
{
    float *const own = line + MIC_HALF_TAPS, *const end = own + MIC_SAMPLES - 1;
    int from, t;
    for (t = 0; t < MIC_SAMPLES; t++)
        own[t] = alignment->shift ? alignment->shift[c] : 0.0f;
    for (from = 0; from < MIC_CHANNELS; from++) {
        if (alignment->matrix)
            add_scaled(own, window + from * MIC_SAMPLES, alignment->matrix[c * MIC_CHANNELS + from], MIC_SAMPLES);
        else if (from == c)
            add_scaled(own, window + from * MIC_SAMPLES, 1.0f, MIC_SAMPLES);
    }
    for (t = 1; t <= MIC_HALF_TAPS; t++) {
        own[-t] = 2.0f * own[0] - own[t];
        end[t] = 2.0f * end[0] - end[-t];
    }
}

/* Patch p of the channel in the line, aligned */
static const float *align(int c, int p)
{
    int t;
    if (!alignment->taps)
        return line + MIC_HALF_TAPS + p * MIC_PATCH;
    /* taps are symmetric: their order does not matter */
    for (t = 0; t < MIC_PATCH; t++)
        filtered[t] = dot(alignment->taps + c * MIC_ALIGNMENT_TAPS, line + p * MIC_PATCH + t, MIC_ALIGNMENT_TAPS);
    return filtered;
}
#endif

/* MiCInference.forward, of a window that is aligned or, else, is to be aligned first */
static void forward(const float *window, int is_aligned, float *logits)
{
    int c, p, b;
#if MIC_SIGNED
    int i;
    for (i = 0; i < MIC_LABELS; i++)
        evoked[i] = 0.0f;
#endif
#if !MIC_ALIGNED
    (void)is_aligned;
#endif
    for (c = 0; c < MIC_CHANNELS; c++) {
#if MIC_ALIGNED
        if (!is_aligned)
            mix(window, c);
#endif
        for (p = 0; p < MIC_PATCHES; p++) {
            const float *patch = window + c * MIC_SAMPLES + p * MIC_PATCH;
#if MIC_ALIGNED
            if (!is_aligned)
                patch = align(c, p);
#endif
            filter_bank(patch, scratch.features);
#if MIC_SIGNED
            /* averages of samples go to the logits by a map of their own, too */
            for (i = 0; i < MIC_LABELS; i++)
                evoked[i] += dot(mic_signed + ((i * MIC_CHANNELS + c) * MIC_PATCHES + p) * MIC_SLOW,
                                 scratch.features + MIC_FILTERS, MIC_SLOW);
#endif
            linear(&mic_embedding, scratch.features, tokens[c][p]);
            add_scaled(tokens[c][p], mic_place + c * MIC_WIDTH, 1.0f, MIC_WIDTH);
        }
    }
    for (b = 0; b < MIC_BLOCKS; b++) {
        for (p = 0; p < MIC_PATCHES; p++)
            attend(&mic_blocks[b], p);
        for (c = 0; c < MIC_CHANNELS; c++)
            convolve(&mic_blocks[b], c);
        for (c = 0; c < MIC_CHANNELS; c++)
            for (p = 0; p < MIC_PATCHES; p++)
                perceive(&mic_blocks[b], tokens[c][p]);
    }
    compress(logits);
#if MIC_SIGNED
    add_scaled(logits, evoked, 1.0f, MIC_LABELS);
#endif
}

void mic_forward(const float *window, float *logits) { forward(window, 1, logits); }

/* ---------------------------------------------------------------- the label, or why there is none */

/* by its bits: what -ffast-math says of isfinite is not to be relied on */
static int is_finite(float x)
{
    mic_bits number;
    number.number = x;
    return (number.bits & 0x7f800000u) != 0x7f800000u;
}

enum mic_status mic_check(const float *window)
{
    int c, t;
    for (c = 0; c < MIC_CHANNELS; c++) {
        const float *x = window + c * MIC_SAMPLES;
        float least = x[0], most = x[0];
        int run = 0;
        for (t = 0; t < MIC_SAMPLES; t++) {
            if (!is_finite(x[t]))
                return MIC_NOT_FINITE;
            if (x[t] < least)
                least = x[t];
            if (x[t] > most)
                most = x[t];
        }
        if (most - least <= MIC_FLAT_UV)
            return MIC_FLAT_CHANNEL;
        if (most >= MIC_RAIL_UV || least <= -MIC_RAIL_UV)
            return MIC_SATURATED;
        for (t = 0; t < MIC_SAMPLES; t++) {
            if (x[t] != least && x[t] != most)
                run = 0;
            else if (run > 0 && x[t] == x[t - 1])
                run++;
            else
                run = 1;
            if (run >= MIC_RAIL_RUN)
                return MIC_SATURATED;
        }
    }
    return MIC_OK;
}

enum mic_status mic_classify(const float *window, int *label, float *logits)
{
    enum mic_status status = mic_check(window);
    int i, best = 0;
#if MIC_ALIGNED
    if (status == MIC_OK && !alignment)
        status = MIC_NOT_ALIGNED;
#endif
    if (status == MIC_OK) {
        forward(window, 0, logits);
        for (i = 0; i < MIC_LABELS; i++) {
            if (!is_finite(logits[i]))
                status = MIC_NOT_FINITE;
            if (logits[i] > logits[best])
                best = i;
        }
    }
    *label = best;
    if (status != MIC_OK) {
        *label = MIC_NO_LABEL;
        for (i = 0; i < MIC_LABELS; i++)
            logits[i] = 0.0f;
    }
    return status;
}

void mic_softmax(const float *logits, float *probabilities)
{
    int i;
    for (i = 0; i < MIC_LABELS; i++)
        probabilities[i] = logits[i];
    softmax(probabilities, MIC_LABELS);
}
