/*
 * The start of a C program on a Cortex-M4F: the vector table, and a reset handler that switches the FPU on, which the library
 * needs, before the C library starts main. printf goes over semihosting (rdimon.specs).
 */
#include <stdint.h>

extern uint32_t __stack;
extern void _start(void);

__attribute__((naked, noreturn)) void reset(void) {
    __asm__ volatile(
        "ldr r0, =0xE000ED88\n" /* CPACR */
        "ldr r1, [r0]\n"
        "orr r1, r1, #0xF00000\n"
        "str r1, [r0]\n"
        "dsb\n isb\n"
        "b _start\n");
}

__attribute__((noreturn)) static void fault(void) {
    __asm__ volatile("mov r0, #0x18\n ldr r1, =0x20024\n bkpt 0xAB\n"); /* exit with a run-time error */
    for (;;) {}
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    &__stack, reset, fault, fault, fault, fault, fault};
