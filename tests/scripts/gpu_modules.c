/* The first process of tests/scripts/gpu_guest.sh: gives the kernel modules before and after what closes its loader, each way alone, and says
   what it met. The word `lockdown` or `disabled` on the command line says which way. Then it switches the machine off. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

static char code[64 << 20];

static const char *load(const char *path, const char *settings) {
    int file = open(path, O_RDONLY);
    size_t len = 0;
    for (ssize_t got; file >= 0 && len < sizeof code && (got = read(file, code + len, sizeof code - len)) > 0;) len += (size_t)got;
    if (len == 0) return "not there";
    return syscall(SYS_init_module, code, len, settings) == 0 ? "taken" : strerrorname_np(errno);
}

static int put(const char *path, const char *word) {
    int file = open(path, O_WRONLY);
    return file >= 0 && write(file, word, strlen(word)) == (ssize_t)strlen(word);
}

int main(int count, char **words) {
    mount("proc", "/proc", "proc", 0, 0);
    mount("sysfs", "/sys", "sysfs", 0, 0);
    mount("securityfs", "/sys/kernel/security", "securityfs", 0, 0);
    int lockdown = 0;
    for (int at = 1; at < count; at++) lockdown |= !strcmp(words[at], "lockdown");
    printf("driver\t%s\n", load("/nvidia.ko", ""));
    printf("before\t%s\n", load("/qemu_fw_cfg.ko", ""));
    int closed = lockdown ? put("/sys/kernel/security/lockdown", "confidentiality") : put("/proc/sys/kernel/modules_disabled", "1");
    printf("closed\t%s\n", closed ? "yes" : "NO");
    printf("after\t%s\n", load("/qemu_fw_cfg.ko", ""));
    printf("opened\t%s\n", lockdown ? (put("/sys/kernel/security/lockdown", "none") ? "YES" : "no")
                                    : (put("/proc/sys/kernel/modules_disabled", "0") ? "YES" : "no"));
    fflush(stdout);
    reboot(RB_POWER_OFF);
    return 0;
}
