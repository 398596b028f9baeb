/* The first process of tests/scripts/apparmor.sh: loads the profiles, runs the hostile worker under them, and switches the machine off. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static const char worker[] = "/usr/bin/anchorhold-worker";

/* AppArmor takes a whole policy in one write. */
static int load(const char *from) {
    static char policy[1 << 20];
    int file = open(from, O_RDONLY), to = open("/sys/kernel/security/apparmor/.load", O_WRONLY);
    ssize_t len = file < 0 ? -1 : read(file, policy, sizeof policy);
    return len > 0 && to >= 0 && write(to, policy, len) == len;
}

static void run(const char *how, const char *profile) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        char word[128];
        int to = open("/proc/self/attr/apparmor/exec", O_WRONLY);
        int len = snprintf(word, sizeof word, "exec %s", profile);
        if (to < 0 || write(to, word, len) != len) _exit(101);
        close(to);
        if (chdir("/run/anchorhold/empty") != 0) _exit(102);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        execl(worker, worker, how, (char *)0);
        _exit(103);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("ended\t%s\t%d\n", how, status);
}

int main(void) {
    static const char *const folders[] = {"/sys", "/dev", "/proc", "/run", "/run/anchorhold", "/run/anchorhold/empty"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) mkdir(folders[i], 0755);
    mount("sysfs", "/sys", "sysfs", 0, 0);
    mount("proc", "/proc", "proc", 0, 0);
    mount("devtmpfs", "/dev", "devtmpfs", 0, 0);
    mount("securityfs", "/sys/kernel/security", "securityfs", 0, 0);
    int console = open("/dev/ttyS0", O_RDWR);
    if (console >= 0) {
        dup2(console, 1);
        dup2(console, 2);
    }
    printf("profiles\t%s\n", load("/profiles") ? "loaded" : "NOT LOADED");
    printf("under\tapparmor\n");
    run("apparmor", "anchorhold-worker");
    printf("under\tattempts\n");
    run("attempts", "anchorhold-worker");
    printf("over\n");
    fflush(stdout);
    tcdrain(1);
    reboot(RB_POWER_OFF);
    return 1;
}
