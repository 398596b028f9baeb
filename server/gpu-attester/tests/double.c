/* Stands for libnvidia-ml.so.1: two GPUs, whose reports repeat the nonce. What goes wrong is named by the environment. */
#include <stdlib.h>
#include <string.h>

struct certificates {
    unsigned key_exchange_len, attestation_len;
    unsigned char key_exchange[0x1000], attestation[0x1400];
};
struct report {
    unsigned has_cec_report, report_len, cec_report_len;
    unsigned char nonce[32], report[0x2000], cec_report[0x1000];
};

static int ready;

static int wrong(const char *what) {
    const char *named = getenv("WRONG");
    return named && strcmp(named, what) == 0;
}

int nvmlInit_v2(void) { return wrong("driver") ? 9 : 0; }
int nvmlSystemGetConfComputeState(unsigned *state) {
    state[0] = 2, state[1] = !wrong("mode"), state[2] = 0;
    return 0;
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = wrong("none") ? 0 : wrong("many") ? 17 : 2;
    return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    *device = (void *)(size_t)(index + 1);
    return 0;
}
int nvmlDeviceGetConfComputeGpuCertificate(void *device, struct certificates *out) {
    memcpy(out->attestation, "certificates of ", 16);
    out->attestation[16] = '0' + (size_t)device;
    out->attestation_len = wrong("length") ? 0x1401 : 17;
    return 0;
}
int nvmlDeviceGetConfComputeGpuAttestationReport(void *device, struct report *out) {
    if (wrong("lost") && device == (void *)2) return 15;
    memcpy(out->report, out->nonce, 32);
    out->report[32] = (size_t)device;
    out->report_len = 33;
    if (wrong("nonce")) out->nonce[0] ^= 1;
    return 0;
}
int nvmlSystemSetConfComputeGpusReadyState(unsigned accepting) {
    ready = accepting == 1 && !wrong("ready");
    return ready ? 0 : 3;
}
