# Sourced.

# Prints the Debian mirror: ANCHORHOLD_MIRROR, else the one of the machine's own apt.
debian_mirror() {
    local mirror=${ANCHORHOLD_MIRROR:-}
    [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -E '/debian/?$' | head -1)
    [ -n "$mirror" ] || mirror=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d 2>/dev/null | grep -v snapshot | head -1)
    [ -n "$mirror" ] || { echo "no Debian mirror is configured: set ANCHORHOLD_MIRROR" >&2; return 1; }
    mirror=${mirror% }
    echo "${mirror%/}"
}

# `apt_config FOLDER SUITE...` makes an apt in FOLDER that knows only these Debian suites and no installed package, and points
# APT_CONFIG at it. ANCHORHOLD_COMPONENTS: of their components (main).
apt_config() {
    local folder=$1 mirror security suite components=${ANCHORHOLD_COMPONENTS:-main}
    shift
    mirror=$(debian_mirror)
    security=${mirror}-security
    mkdir -p "$folder"/etc/apt/{preferences.d,apt.conf.d,trusted.gpg.d} "$folder"/var/lib/apt/lists/partial "$folder"/var/lib/dpkg \
        "$folder"/var/cache/apt/archives/partial
    : >"$folder/var/lib/dpkg/status"
    for suite in "$@"; do
        case $suite in
        # A mirror may have stopped following a suite that is not released. What is taken from it is pinned by digest.
        forky | sid)
            echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg check-valid-until=no] $mirror $suite $components"
            ;;
        *)
            echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite $components"
            echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite-updates $components"
            echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $security $suite-security $components"
            ;;
        esac
    done >"$folder/etc/apt/sources.list"
    cat >"$folder/apt.conf" <<CONF
Dir "$folder";
Dir::State "$folder/var/lib/apt";
Dir::State::status "$folder/var/lib/dpkg/status";
Dir::Cache "$folder/var/cache/apt";
Dir::Etc "$folder/etc/apt";
APT::Install-Recommends "false";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
    export APT_CONFIG=$folder/apt.conf
}
