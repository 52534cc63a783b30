/* Files as bytes in the image: a model, built with -DMODEL='"small.gguf"', and a calibration of it, if there is one, with
 * -DCALIBRATION='"small.calibration"'. A linker with --gc-sections drops what no program names. */
    .section .rodata.model, "a"
    .balign 16
    .global model_start, model_end
model_start:
    .incbin MODEL
model_end:
    .byte 0
#if defined(CALIBRATION)
    .section .rodata.calibration, "a"
    .balign 16
    .global calibration_start, calibration_end
calibration_start:
    .incbin CALIBRATION
calibration_end:
    .byte 0
#endif
#if defined(__linux__) && defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
