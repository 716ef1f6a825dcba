/* A disk that fails on demand: loaded into every process of a server (LD_PRELOAD), it counts the calls that
 * change files below a folder, and lets some of them fail.
 *
 * What it shall do stands in a file that all processes have mapped (PYTHON_FAULTY_DISK names it; `struct
 * control` is `faulty_disk.py` there), so that it changes, and the calls of all processes are counted, while
 * they run. What is written through mmap, as SQLite's -shm file is, passes by.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* What happens to a call: it fails; a write is cut short before it fails; an fsync fails, and what was written
 * since the last good one is gone; it takes long; its process is killed before it, or in the middle of it. */
enum kind { NONE, FAIL, TEAR, DROP, DELAY, DIE, DIE_TORN };
enum call { WRITE = 1, SYNC = 2, OPEN = 4, NAME = 8, SIZE = 16, REMOVE = 32 };

static struct control {
    uint32_t kind, calls;  /* `calls`: a sum of `enum call` */
    int32_t error;
    uint32_t delay_us;
    uint64_t first, last;  /* which are hit, counted from 1 */
    uint64_t count, hits;
    char folder[1024];     /* only files below it */
    char part[256];        /* with this in their paths */
    char what[1024];       /* was hit first */
} *control;

#define REAL(result, name, ...)                                     \
    static result (*real)(__VA_ARGS__);                             \
    if (real == NULL)                                               \
        real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("PYTHON_FAULTY_DISK");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *found = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (found != MAP_FAILED)
        control = found;
}

/* Whether a call is hit; `path` is absolute. One that is to die or to wait has done so then, but for half a write. */
static enum kind meets(enum call call, const char *path)
{
    size_t length;
    if (control == NULL || control->kind == NONE || !(control->calls & call))
        return NONE;
    length = strlen(control->folder);
    if (strncmp(path, control->folder, length) || path[length] != '/' || !strstr(path, control->part))
        return NONE;
    uint64_t number = __atomic_add_fetch(&control->count, 1, __ATOMIC_SEQ_CST);
    if (number < control->first || number > control->last)
        return NONE;
    if (__atomic_add_fetch(&control->hits, 1, __ATOMIC_SEQ_CST) == 1)
        snprintf(control->what, sizeof control->what, "%d %s", (int)call, path);
    if (control->kind == DIE || (control->kind == DIE_TORN && call != WRITE))
        kill(getpid(), SIGKILL);
    if (control->kind == DELAY)
        usleep(control->delay_us);
    return control->kind;
}

static void place_of(int fd, char *path)
{
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
}

static enum kind meets_file(enum call call, int fd)
{
    char path[PATH_MAX];
    if (control == NULL || control->kind == NONE || !(control->calls & call))
        return NONE;
    place_of(fd, path);
    return meets(call, path);
}

static enum kind meets_name(enum call call, int folder, const char *name)
{
    char path[2 * PATH_MAX] = "";
    if (control == NULL || control->kind == NONE || name == NULL)
        return NONE;
    if (*name != '/') {
        if (folder != AT_FDCWD)
            place_of(folder, path);
        else if (getcwd(path, PATH_MAX) == NULL)
            return NONE;
        strcat(path, "/");
    }
    strncat(path, name, PATH_MAX - 1);
    return meets(call, path);
}

static int is_failure(enum kind kind)
{
    if (kind == FAIL || kind == TEAR || kind == DROP)
        errno = control->error;
    return kind == FAIL || kind == TEAR || kind == DROP;
}

/* What an fsync that fails takes back: the bytes that a write of this process has replaced. ------------------ */

struct change {
    struct change *before;
    dev_t device;
    ino_t file;
    off_t place, size;  /* `size`: of the whole file */
    size_t length;
    char bytes[];
};

static struct change *changes;
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

static void note(int fd, off_t place, size_t length)
{
    struct stat state;
    char link[40];
    if (control == NULL || control->kind != DROP || fstat(fd, &state) || !S_ISREG(state.st_mode))
        return;
    if (place < 0 && (fcntl(fd, F_GETFL) & O_APPEND))
        place = state.st_size;
    else if (place < 0)
        place = lseek(fd, 0, SEEK_CUR);
    if (place + (off_t)length > state.st_size)
        length = place < state.st_size ? (size_t)(state.st_size - place) : 0;
    struct change *made = malloc(sizeof *made + length);
    if (length) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int again = open(link, O_RDONLY | O_CLOEXEC);  /* it may be open for writing only */
        length = again < 0 || pread(again, made->bytes, length, place) != (ssize_t)length ? 0 : length;
        close(again);
    }
    *made = (struct change){NULL, state.st_dev, state.st_ino, place, state.st_size, length};
    pthread_mutex_lock(&guard);
    made->before = changes;
    changes = made;
    pthread_mutex_unlock(&guard);
}

static void settle(int fd, int lost)
{
    struct stat state;
    char link[40];
    static const char zeros[4096];
    int known = 0;
    if (control == NULL || control->kind != DROP || fstat(fd, &state) || !S_ISREG(state.st_mode))
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
    static int (*cut)(int, off_t);
    if (cut == NULL)
        cut = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate64");
    int again = lost ? open(link, O_WRONLY | O_CLOEXEC) : -1;
    pthread_mutex_lock(&guard);
    for (struct change **at = &changes; *at != NULL;) {
        struct change *one = *at;
        if (one->device != state.st_dev || one->file != state.st_ino) {
            at = &one->before;
            continue;
        }
        known = 1;
        if (lost && one->length)
            real(again, one->bytes, one->length, one->place);
        if (lost)
            cut(again, one->size);
        *at = one->before;
        free(one);
    }
    pthread_mutex_unlock(&guard);
    /* Another process has written it: then all of it is new. */
    if (lost && !known && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
        for (off_t place = 0; place < state.st_size; place += sizeof zeros)
            real(again, zeros, sizeof zeros, place);
    if (again >= 0)
        close(again);
}

/* Calls that take a file that is open. ---------------------------------------------------------------------- */


static ssize_t written(enum kind kind, ssize_t torn)
{
    if (kind == DIE_TORN)
        kill(getpid(), SIGKILL);
    if (kind == TEAR && torn > 0)
        return torn;
    is_failure(kind);
    return -1;
}

static int fails(enum kind kind)
{
    return kind == FAIL || kind == TEAR || kind == DIE_TORN;
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    enum kind kind = meets_file(WRITE, fd);
    if (!fails(kind)) {
        note(fd, -1, size);
        return real(fd, data, size);
    }
    return written(kind, kind == FAIL || control->hits > 1 ? 0 : real(fd, data, size / 2));
}

static ssize_t write_at(ssize_t (*real)(int, const void *, size_t, off_t), int fd, const void *data, size_t size,
                        off_t place)
{
    enum kind kind = meets_file(WRITE, fd);
    if (!fails(kind)) {
        note(fd, place, size);
        return real(fd, data, size, place);
    }
    return written(kind, kind == FAIL || control->hits > 1 ? 0 : real(fd, data, size / 2, place));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t place)
{
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    return write_at(real, fd, data, size, place);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t place)
{
    REAL(ssize_t, pwrite64, int, const void *, size_t, off_t);
    return write_at(real, fd, data, size, place);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(ssize_t, writev, int, const struct iovec *, int);
    size_t size = 0;
    enum kind kind = meets_file(WRITE, fd);
    if (fails(kind))
        return written(kind, kind == FAIL || control->hits > 1 ? 0 : real(fd, parts, count / 2));
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    note(fd, -1, size);
    return real(fd, parts, count);
}

#define OF_A_FILE(call, result, name, failed, declared, ...)             \
    result name declared                                                 \
    {                                                                    \
        static result (*real) declared;                                  \
        if (real == NULL)                                                \
            real = (result(*) declared)dlsym(RTLD_NEXT, #name);          \
        if (is_failure(meets_file(call, fd)))                            \
            return failed;                                               \
        return real(__VA_ARGS__);                                        \
    }

OF_A_FILE(WRITE, ssize_t, sendfile, -1, (int fd, int from, off_t *place, size_t size), fd, from, place, size)
OF_A_FILE(WRITE, ssize_t, sendfile64, -1, (int fd, int from, off_t *place, size_t size), fd, from, place, size)
OF_A_FILE(SIZE, int, ftruncate, -1, (int fd, off_t size), fd, size)
OF_A_FILE(SIZE, int, ftruncate64, -1, (int fd, off_t size), fd, size)
OF_A_FILE(SIZE, int, posix_fallocate, errno, (int fd, off_t place, off_t size), fd, place, size)
OF_A_FILE(SIZE, int, posix_fallocate64, errno, (int fd, off_t place, off_t size), fd, place, size)

ssize_t copy_file_range(int from, off_t *begin, int fd, off_t *place, size_t size, unsigned flags)
{
    REAL(ssize_t, copy_file_range, int, off_t *, int, off_t *, size_t, unsigned);
    return is_failure(meets_file(WRITE, fd)) ? -1 : real(from, begin, fd, place, size, flags);
}

static int sync_file(int (*real)(int), int fd)
{
    if (is_failure(meets_file(SYNC, fd))) {
        settle(fd, 1);
        errno = control->error;
        return -1;
    }
    int done = real(fd);
    if (done == 0)
        settle(fd, 0);
    return done;
}

int fsync(int fd)
{
    REAL(int, fsync, int);
    return sync_file(real, fd);
}

int fdatasync(int fd)
{
    REAL(int, fdatasync, int);
    return sync_file(real, fd);
}

/* Calls that take names. A file is opened as usual unless that changes something. ---------------------------- */

static int opens(int folder, const char *name, int flags)
{
    if (!(flags & (O_CREAT | O_TRUNC)) && (flags & O_ACCMODE) == O_RDONLY)
        return 0;
    /* Only a disk that is read-only refuses what is there already. */
    if (control == NULL || ((!(flags & O_CREAT) || faccessat(folder, name, F_OK, 0) == 0) && control->error != EROFS))
        return 0;
    return is_failure(meets_name(OPEN, folder, name));
}

#define OPENS(name)                                                      \
    int name(const char *path, int flags, ...)                           \
    {                                                                    \
        REAL(int, name, const char *, int, ...);                         \
        va_list more;                                                    \
        va_start(more, flags);                                           \
        int mode = flags & O_CREAT ? va_arg(more, int) : 0;              \
        va_end(more);                                                    \
        return opens(AT_FDCWD, path, flags) ? -1 : real(path, flags, mode); \
    }
#define OPENS_AT(name)                                                   \
    int name(int folder, const char *path, int flags, ...)               \
    {                                                                    \
        REAL(int, name, int, const char *, int, ...);                    \
        va_list more;                                                    \
        va_start(more, flags);                                           \
        int mode = flags & O_CREAT ? va_arg(more, int) : 0;              \
        va_end(more);                                                    \
        return opens(folder, path, flags) ? -1 : real(folder, path, flags, mode); \
    }

OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)

#define OF_A_NAME(call, name, folder, path, declared, ...)               \
    int name declared                                                    \
    {                                                                    \
        static int (*real) declared;                                     \
        if (real == NULL)                                                \
            real = (int(*) declared)dlsym(RTLD_NEXT, #name);             \
        return is_failure(meets_name(call, folder, path)) ? -1 : real(__VA_ARGS__); \
    }

/* Whether a file may be written is asked by name. */
static int is_denied(int folder, const char *name, int mode)
{
    return control != NULL && (mode & W_OK) && control->error == EROFS && is_failure(meets_name(OPEN, folder, name));
}

int access(const char *path, int mode)
{
    REAL(int, access, const char *, int);
    return is_denied(AT_FDCWD, path, mode) ? -1 : real(path, mode);
}

int faccessat(int folder, const char *path, int mode, int flags)
{
    REAL(int, faccessat, int, const char *, int, int);
    return is_denied(folder, path, mode) ? -1 : real(folder, path, mode, flags);
}

OF_A_NAME(NAME, rename, AT_FDCWD, to, (const char *from, const char *to), from, to)
OF_A_NAME(NAME, renameat, end, to, (int begin, const char *from, int end, const char *to), begin, from, end, to)
OF_A_NAME(NAME, link, AT_FDCWD, to, (const char *from, const char *to), from, to)
OF_A_NAME(NAME, linkat, end, to, (int begin, const char *from, int end, const char *to, int flags), begin, from, end,
          to, flags)
OF_A_NAME(NAME, mkdir, AT_FDCWD, path, (const char *path, mode_t mode), path, mode)
OF_A_NAME(NAME, mkdirat, folder, path, (int folder, const char *path, mode_t mode), folder, path, mode)
OF_A_NAME(REMOVE, unlink, AT_FDCWD, path, (const char *path), path)
OF_A_NAME(REMOVE, unlinkat, folder, path, (int folder, const char *path, int flags), folder, path, flags)
OF_A_NAME(REMOVE, rmdir, AT_FDCWD, path, (const char *path), path)
