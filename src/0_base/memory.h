/* memory.h: every allocation of the library goes through here, so that tests can make the n-th fail.
 *
 * All functions return NULL on failure and never abort. pt_free(NULL) does nothing. Thread-safe.
 */
#ifndef PT_BASE_MEMORY_H
#define PT_BASE_MEMORY_H

#include <stddef.h>

enum { PT_ALIGNMENT = 64 }; /* one cache line, one AVX-512 register */

void *pt_malloc(size_t bytes);
void *pt_calloc(size_t count, size_t bytes_each); /* zeroed; NULL when the product overflows */
void *pt_realloc(void *block, size_t bytes);      /* like realloc; `block` stays valid on failure */
char *pt_strdup(const char *text);
char *pt_strndup(const char *text, size_t length);
/* printf into a new string. */
char *pt_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* PT_ALIGNMENT-aligned and zeroed; large blocks ask the kernel for huge pages. Free with pt_free. */
void *pt_calloc_aligned(size_t count, size_t bytes_each);
/* The same without the zeroes, for large tables that are written once and read at random. */
void *pt_malloc_aligned(size_t count, size_t bytes_each);
void pt_free(void *block);

/* Tests only: the n-th allocation from now (1 = the next) fails, and every later one too while
 * `sticky`; 0 switches failing off. pt_memory_count() tells how many allocations were asked for
 * since the last call of pt_memory_fail_at. */
void pt_memory_fail_at(long n, int sticky);
long pt_memory_count(void);

#endif
