/* The model as bytes in the image: build with -DMODEL='"small.gguf"'. */
    .section .rodata.model, "a"
    .balign 16
    .global model_start, model_end
model_start:
    .incbin MODEL
model_end:
    .byte 0
#if defined(__linux__) && defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif
