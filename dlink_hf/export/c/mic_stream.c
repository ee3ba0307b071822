/* Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
 *
 * mic_stream.c: see mic_stream.h. The filters mirror _Resampler and _Filter of dlink_hf/streaming/preparation.py: at
 * the beginning of a stream, its first samples turned about the first one stand for what was before.
 */
#include "mic_stream.h"

#define MIC_WITH_FILTERS
#include "mic_filters.h"

/* The first sample: it is taken off before the filters and comes back behind them, times their gain at 0 Hz. An
 * amplifier's offset of many millivolts would cost the microvolts their last digits. */
static float offset[MIC_CHANNELS];
static uint32_t n_in;

#if MIC_RESAMPLED
/* the last samples, so many that those that are mirrored fit: MIC_RESAMPLE_MIRRORED, the first, the rest */
#define RESAMPLE_LENGTH (2 * MIC_RESAMPLE_MIRRORED + 1)
static float line[MIC_CHANNELS][RESAMPLE_LENGTH];
static int newest, ahead, phase; /* place of the newest sample; of the one that the next output begins at, from it */
#endif

#if MIC_FIR_STAGES > 0
/* the last samples before each filter, those of all filters side by side */
static float past[MIC_CHANNELS][MIC_FIR_ALL];
static struct {
    int n_in; /* until it is full */
    int oldest;
} fir[MIC_FIR_STAGES];
#endif

/* the window that is being filled */
static float window[MIC_CHANNELS][MIC_SAMPLES];
static int n_filled;
static uint32_t start;       /* of the window, in samples of MIC_SFREQ since the beginning */
static uint32_t next_number; /* of the sample that is awaited */
static float last[MIC_CHANNELS];
static uint32_t changed[MIC_CHANNELS]; /* the sample at which a channel last changed */
static uint32_t flat_until;            /* one more than the last sample at which a channel was flat */

void mic_stream_reset(void)
{
    n_in = 0;
    n_filled = 0;
    start = 0;
    flat_until = 0;
}

#if MIC_FIR_STAGES > 0
static float product(const float *a, const float *b, int n)
{
    float sum = 0.0f;
    int i;
    for (i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* _Filter.push of one sample x (C,), in place; whether a sample comes out */
static int fir_push(int number, float *x)
{
    const int n = mic_fir[number].n_taps, late = mic_fir[number].late, begin = n - 1 - late;
    int c, i, j;
    float(*const lines)[MIC_FIR_ALL] = past;
    if (fir[number].n_in <= late) {
        for (c = 0; c < MIC_CHANNELS; c++)
            lines[c][mic_fir[number].place + begin + fir[number].n_in] = x[c];
        if (fir[number].n_in++ < late)
            return 0;
        for (c = 0; c < MIC_CHANNELS; c++) {
            float *const own = lines[c] + mic_fir[number].place;
            /* the mirror image, and before it its first value for ever */
            for (i = 1; i <= begin; i++) {
                j = i <= late ? i : late;
                own[begin - i] = 2.0f * own[begin] - own[begin + j];
            }
        }
        fir[number].oldest = 0;
    } else {
        for (c = 0; c < MIC_CHANNELS; c++)
            lines[c][mic_fir[number].place + fir[number].oldest] = x[c];
        fir[number].oldest = (fir[number].oldest + 1) % n;
    }
    /* taps stand oldest sample first */
    i = n - fir[number].oldest;
    for (c = 0; c < MIC_CHANNELS; c++) {
        const float *own = lines[c] + mic_fir[number].place;
        x[c] = product(mic_fir[number].taps, own + fir[number].oldest, i);
        x[c] += product(mic_fir[number].taps + i, own, n - i);
    }
    return 1;
}
#endif

/* What comes after the resampling, of one sample x (C,); whether a sample comes out */
static int finish(float *x)
{
    int c;
#if MIC_FIR_STAGES > 0
    int number;
    for (number = 0; number < MIC_FIR_STAGES; number++)
        if (!fir_push(number, x))
            return 0;
#endif
    for (c = 0; c < MIC_CHANNELS; c++)
        x[c] += offset[c] * MIC_FILTER_GAIN;
    return 1;
}

int mic_filter_push(const float *sample, float prepared[][MIC_CHANNELS])
{
    int c, n_out = 0;
    if (n_in == 0) {
        for (c = 0; c < MIC_CHANNELS; c++)
            offset[c] = sample[c];
#if MIC_FIR_STAGES > 0
        for (c = 0; c < MIC_FIR_STAGES; c++)
            fir[c].n_in = 0;
#endif
    }
#if MIC_RESAMPLED
    {
        /* _Resampler.push: output m is made of the samples up to (half + m down) / up */
        int i;
        newest = n_in == 0 ? MIC_RESAMPLE_MIRRORED : (newest + 1) % RESAMPLE_LENGTH;
        for (c = 0; c < MIC_CHANNELS; c++)
            line[c][newest] = sample[c] - offset[c];
        if (n_in < MIC_RESAMPLE_MIRRORED) {
            n_in++;
            return 0;
        }
        if (n_in == MIC_RESAMPLE_MIRRORED) {
            n_in++;
            for (c = 0; c < MIC_CHANNELS; c++)
                for (i = 1; i <= MIC_RESAMPLE_MIRRORED; i++)
                    line[c][MIC_RESAMPLE_MIRRORED - i] = -line[c][MIC_RESAMPLE_MIRRORED + i];
            ahead = MIC_RESAMPLE_HALF / MIC_RESAMPLE_UP - MIC_RESAMPLE_MIRRORED;
            phase = MIC_RESAMPLE_HALF % MIC_RESAMPLE_UP;
        } else {
            ahead--;
        }
        while (ahead <= 0) {
            const float *taps = mic_resample_taps + phase * MIC_RESAMPLE_TAPS;
            for (c = 0; c < MIC_CHANNELS; c++) {
                int place = (newest + ahead + RESAMPLE_LENGTH) % RESAMPLE_LENGTH;
                float sum = 0.0f;
                for (i = 0; i < MIC_RESAMPLE_TAPS; i++) {
                    sum += taps[i] * line[c][place];
                    place = place > 0 ? place - 1 : RESAMPLE_LENGTH - 1;
                }
                prepared[n_out][c] = sum;
            }
            n_out += finish(prepared[n_out]);
            phase += MIC_RESAMPLE_DOWN;
            ahead += phase / MIC_RESAMPLE_UP;
            phase %= MIC_RESAMPLE_UP;
        }
    }
#else
    for (c = 0; c < MIC_CHANNELS; c++)
        prepared[0][c] = sample[c] - offset[c];
    n_in += n_in == 0;
    n_out = finish(prepared[0]);
#endif
    return n_out;
}

enum mic_status mic_stream_push(const float *sample, uint32_t number, int *label, float *logits)
{
    static float prepared[MIC_FILTER_MOST][MIC_CHANNELS];
    static uint32_t n_seen;
    enum mic_status status = MIC_MORE, found;
    int c, t, i, n;
    *label = MIC_NO_LABEL;
    for (i = 0; i < MIC_LABELS; i++)
        logits[i] = 0.0f;
    for (c = 0; c < MIC_CHANNELS; c++)
        if (!(sample[c] - sample[c] == 0.0f)) {
            mic_stream_reset();
            return MIC_NOT_FINITE;
        }
    if (n_in > 0 && number != next_number) {
        mic_stream_reset();
        status = MIC_MISSING_SAMPLES;
    }
    next_number = number + 1;
    if (n_in == 0)
        n_seen = 0;
    for (c = 0; c < MIC_CHANNELS; c++) {
        /* StreamClassifier._find_flat */
        if (n_seen == 0 || sample[c] != last[c])
            changed[c] = n_seen;
        if ((float)(n_seen - changed[c]) >= MIC_SOURCE_SFREQ)
            flat_until = n_seen + 1;
        last[c] = sample[c];
    }
    n_seen++;
    n = mic_filter_push(sample, prepared);
    for (i = 0; i < n; i++) {
        if (n_filled >= 0)
            for (c = 0; c < MIC_CHANNELS; c++)
                window[c][n_filled] = prepared[i][c];
        if (++n_filled < MIC_SAMPLES)
            continue;
        /* a sample of the window, in samples of the amplifier, is start down / up */
        if (flat_until > 0 && (uint64_t)(flat_until - 1) * MIC_RESAMPLE_UP >= (uint64_t)start * MIC_RESAMPLE_DOWN)
            found = MIC_FLAT_CHANNEL;
        else
            found = mic_classify(window[0], label, logits);
        status = found;
        /* what the next window has too moves to its beginning; where it has nothing, samples are left out first */
        start += MIC_STREAM_HOP;
        n_filled = MIC_SAMPLES - MIC_STREAM_HOP;
        for (c = 0; c < MIC_CHANNELS; c++)
            for (t = 0; t < n_filled; t++)
                window[c][t] = window[c][t + MIC_STREAM_HOP];
    }
    return status;
}
