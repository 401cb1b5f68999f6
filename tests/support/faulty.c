/* Compiled by nobody: what a static analyser must find something in (analyse.py). */
#include <errno.h>
#include <stddef.h>

int faulty(int n);

int faulty(int n)
{
    int array[4] = { 0 };
    int *pointer = NULL;

    if (n > 3)
        pointer = array;
    if (n > 100)
        return array[n];
    return *pointer;
}
