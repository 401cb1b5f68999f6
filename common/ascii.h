#ifndef COMMON_ASCII_H
#define COMMON_ASCII_H

/* The small letter of an ASCII capital, in any locale; every other byte is as it was. */
static inline char ascii_lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

#endif
