/* Copyright 2026 The dlink_hf authors. Licensed under the Apache License, Version 2.0.
 *
 * chip.c: a bare Cortex-M with nothing but mic.c, in QEMU or behind a debugger that does semihosting. It classifies
 * the windows of `windows.f32` (as main.c reads them) and writes `results.bin`: for each window the status, the label
 * and the ticks of SysTick that it took, 32 bits each, then the logits. A firmware takes the vector table, and the
 * two lines that turn the floating-point unit on, from its maker's files.
 *
 * With -DMIC_STREAM it takes the raw samples of `samples.f32`, MIC_CHANNELS numbers each, through mic_stream.c, and
 * writes a result wherever the status is not MIC_MORE.
 */
#include <stdint.h>

#include "mic.h"
#ifdef MIC_STREAM
#include "mic_stream.h"
#endif

extern uint32_t stack_top[], bss_start[], bss_end[], data_start[], data_end[], data_load[];
void reset(void);
static void fault(void);

/* the stack, then reset, the faults and SysTick at their places */
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} vectors = {stack_top,
             {reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault}};

#define CPACR (*(volatile uint32_t *)0xE000ED88u)
#define SYST_CSR (*(volatile uint32_t *)0xE000E010u)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014u)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018u)

enum { SYS_OPEN = 1, SYS_CLOSE = 2, SYS_WRITE = 5, SYS_READ = 6, SYS_EXIT = 0x18 };

static int semihost(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void leave(int is_well)
{
    /* ADP_Stopped_ApplicationExit, or ADP_Stopped_RunTimeErrorUnknown */
    semihost(SYS_EXIT, (const void *)(is_well ? 0x20026u : 0x20023u));
    for (;;)
        ;
}

static void fault(void) { leave(0); }

static int open_file(const char *name, int length, int mode)
{
    const uintptr_t block[3] = {(uintptr_t)name, (uintptr_t)mode, (uintptr_t)length};
    return semihost(SYS_OPEN, block);
}

/* bytes that are left over: 0 where all were read or written */
static int transfer(int operation, int file, const void *bytes, int length)
{
    const uintptr_t block[3] = {(uintptr_t)file, (uintptr_t)bytes, (uintptr_t)length};
    return semihost(operation, block);
}

#ifdef MIC_STREAM
static const char source_name[] = "samples.f32";
static float input[MIC_CHANNELS];
#else
static const char source_name[] = "windows.f32";
static float input[MIC_CHANNELS * MIC_SAMPLES];
#endif

int main(void)
{
    struct {
        int32_t status, label;
        uint32_t ticks;
        float logits[MIC_LABELS];
    } result;
    int label, source = open_file(source_name, (int)sizeof source_name - 1, 1), sink = open_file("results.bin", 11, 5);
    if (source < 0 || sink < 0)
        return 0;
    SYST_RVR = 0xffffff;
    SYST_CVR = 0;
    SYST_CSR = 5; /* on, at the processor's clock */
    while (transfer(SYS_READ, source, input, (int)sizeof input) == 0) {
        uint32_t before = SYST_CVR;
#ifdef MIC_STREAM
        static uint32_t number;
        result.status = (int32_t)mic_stream_push(input, number++, &label, result.logits);
        if (result.status == MIC_MORE)
            continue;
#else
        result.status = (int32_t)mic_classify(input, &label, result.logits);
#endif
        result.ticks = (before - SYST_CVR) & 0xffffff;
        result.label = label;
        if (transfer(SYS_WRITE, sink, &result, (int)sizeof result) != 0)
            return 0;
    }
    return semihost(SYS_CLOSE, &sink) == 0;
}

void reset(void)
{
    uint32_t *from = data_load, *to;
    for (to = data_start; to < data_end;)
        *to++ = *from++;
    for (to = bss_start; to < bss_end;)
        *to++ = 0;
    CPACR |= 0xfu << 20; /* the floating-point unit */
    __asm__ volatile("dsb\n isb");
    leave(main());
}
