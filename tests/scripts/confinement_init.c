/* The first process of tests/scripts/program_guest.sh: makes what a program needs, runs it in a control group, and switches the machine off. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int put(const char *path, const char *text) {
    int file = open(path, O_WRONLY);
    int written = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);
    if (file >= 0) close(file);
    if (!written) printf("init: %s cannot be written\n", path);
    return written;
}

int main(int count, char **words) {
    static const char *const folders[] = {"/sys", "/dev", "/proc", "/tmp"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) mkdir(folders[i], 0755);
    mount("sysfs", "/sys", "sysfs", 0, 0);
    mount("proc", "/proc", "proc", 0, 0);
    mount("devtmpfs", "/dev", "devtmpfs", 0, 0);
    mount("tmpfs", "/tmp", "tmpfs", 0, 0);
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, 0);
    int console = open("/dev/ttyS0", O_RDWR);
    if (console >= 0) {
        dup2(console, 1);
        dup2(console, 2);
    }
    setvbuf(stdout, 0, _IONBF, 0);
    mkdir("/sys/fs/cgroup/serving", 0755);
    if (put("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids +cpuset")) {
        pid_t child = fork();
        if (child == 0) {
            put("/sys/fs/cgroup/serving/cgroup.procs", "0");
            /* What follows "--" of the kernel's command line: the arguments of the benchmark. */
            words[0] = "/confinement";
            execv(words[0], words);
            _exit(127);
        }
        int status = 0;
        waitpid(child, &status, 0);
        printf("ended %d of %d words\n", status, count);
    }
    tcdrain(1);
    reboot(RB_POWER_OFF);
    return 1;
}
