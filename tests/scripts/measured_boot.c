/* The first process of tests/scripts/measured_boot.sh: prints the firmware's event log and the PCRs, and switches the machine off. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static void print_file(const char *path) {
    unsigned char bytes[4096];
    ssize_t count;
    int file = open(path, O_RDONLY);
    printf("BEGIN log\n");
    while (file >= 0 && (count = read(file, bytes, sizeof bytes)) > 0) {
        for (ssize_t i = 0; i < count; i++) printf("%02x", bytes[i]);
        printf("\n");
    }
    printf("END log\n");
}

int main(void) {
    static const char *const banks[] = {"sha256", "sha384"};
    mkdir("/sys", 0755);
    mkdir("/dev", 0755);
    mount("sysfs", "/sys", "sysfs", 0, 0);
    mount("devtmpfs", "/dev", "devtmpfs", 0, 0);
    mount("securityfs", "/sys/kernel/security", "securityfs", 0, 0);
    int console = open("/dev/ttyS0", O_RDWR);
    if (console >= 0) dup2(console, 1);
    print_file("/sys/kernel/security/tpm0/binary_bios_measurements");
    for (int bank = 0; bank < 2; bank++) {
        for (int pcr = 0; pcr < 16; pcr++) {
            char path[64], value[128] = "";
            snprintf(path, sizeof path, "/sys/class/tpm/tpm0/pcr-%s/%d", banks[bank], pcr);
            FILE *file = fopen(path, "r");
            if (file && fgets(value, sizeof value, file)) printf("PCR %s %d %s", banks[bank], pcr, value);
        }
    }
    fflush(stdout);
    tcdrain(1);
    reboot(RB_POWER_OFF);
    return 1;
}
