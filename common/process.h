#ifndef COMMON_PROCESS_H
#define COMMON_PROCESS_H

/*
 * What a process that holds keys puts in order before anything else: the first
 * call of main().
 *
 * Descriptors 0 to 2 that are closed would be given to the next file or socket,
 * and what is printed would go there; so /dev/null goes there first. Standard
 * output is opened for reading only: printing fails, as it does on a closed one.
 *
 * Text is UTF-8, whatever the locale says: libraries that measure and print text rely on it.
 *
 * No core dump and no other process of this user may read the memory
 * (PR_SET_DUMPABLE, RLIMIT_CORE): opened API keys are in it.
 */
void process_init(void);

/* As many descriptors as the hard limit gives, up to 4,096: what a service needs at most. */
void process_raise_descriptor_limit(void);

#endif
