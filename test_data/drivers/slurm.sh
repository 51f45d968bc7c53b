#!/usr/bin/env bash
# Slurm's own programs, unpacked into a folder, run the driver that `sweep plan` writes: two tasks, of which one is killed and one requeued.
#   slurm.sh PROGRAM
set -euo pipefail
program=$(realpath "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=$(mktemp -d)
pids=()
end() {
    # What the tasks started goes first: it is not ours to kill by number.
    [ -e bin/scancel ] && timeout 5 scancel --full -u root && sleep 1 || true
    for pid in ${pids[@]+"${pids[@]}"}; do kill -9 "$pid" 2>/dev/null || true; done
    rm -rf "$run"
}
trap end EXIT
# shellcheck source=common.sh
. "$here/common.sh"

command -v apt-get >/dev/null || not_tested "Slurm is taken from Debian's packages, and there is no apt-get"
cd "$run"
mkdir packages root st sp
(
    cd packages
    timeout 60 apt-get update -qq || true
    depends=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
        slurmctld slurmd slurm-client slurm-wlm-basic-plugins munge libmunge2 libhwloc15 | grep -E '^(slurm|munge|libmunge|libslurm|libhwloc|libjson|libhttp|libyaml|libfreeipmi|libipmi|librrd|liblua|libpmix|libmariadb|libnuma|libjwt|libjansson|libcurl|libev|libdbus|libreadline|libxnvctrl|libbpf|libelf)' | sort -u)
    # shellcheck disable=SC2086
    timeout 90 apt-get download -qq $depends
) || not_tested "Slurm's packages could not be fetched (no network?)"
for package in packages/*.deb; do dpkg -x "$package" root; done
root=$run/root
export LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu/slurm-wlm:$root/usr/lib/x86_64-linux-gnu:$root/lib/x86_64-linux-gnu
export PATH=$run/bin:$PATH
mkdir bin
for tool in sbatch scancel srun scontrol squeue sinfo slurmctld slurmd slurmstepd; do
    for found in "$root/usr/sbin/$tool-wlm" "$root/usr/bin/$tool-wlm" "$root/usr/bin/$tool" "$root/usr/sbin/$tool"; do
        [ -x "$found" ] && ln -s "$found" "bin/$tool" && break
    done
    [ -e "bin/$tool" ] || not_tested "Slurm's packages hold no $tool"
done

host=$(hostname)
export SLURM_CONF=$run/slurm.conf
cat >slurm.conf <<END
ClusterName=t
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
AuthInfo=cred_expire=5
CredType=cred/none
PluginDir=$root/usr/lib/x86_64-linux-gnu/slurm-wlm
StateSaveLocation=$run/st
SlurmdSpoolDir=$run/sp
SlurmctldPidFile=$run/ctld.pid
SlurmdPidFile=$run/d.pid
SlurmctldLogFile=$run/ctld.log
SlurmdLogFile=$run/d.log
SlurmctldPort=26817
SlurmdPort=26818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=requeue_delay=1,sched_interval=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=p Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
slurmctld -D >ctld.out 2>&1 &
pids+=($!)
slurmd -D -N "$host" -d "$(realpath bin/slurmstepd)" >d.out 2>&1 &
pids+=($!)
if ! until_holds 30 sh -c 'timeout 2 sinfo -h -o %T | grep -qE "idle|mix"'; then
    tail -n 5 ctld.out ctld.log d.out d.log >&2 || true
    not_tested "Slurm does not start on this machine"
fi

spec
plan
killed_once
export MECHSCOPE=$run/mechscope
submit() {
    bash "$run/sweep/drivers/slurm.sbatch" --array=0-1 --mem=0 | tee "$run/submitted"
}
submit
job=$(sed 's/workers: job \([0-9]*\),.*/\1/' "$run/submitted")
until_holds 60 test -e "$run/waits" || { squeue; cat "$run"/sweep/drivers/*.log; exit 1; }
# In mid-run, as when a node is taken away.
scontrol requeue "${job}_1"
# A squeue that fails tells nothing.
finished() {
    local left
    left=$(squeue -h -o %i) && [ -z "$left" ]
}
until_holds 150 finished || { squeue; scontrol show jobs; cat "$run"/sweep/drivers/*.log; exit 1; }
echo "== the logs of the tasks, and of the merge, which is partial where the killed task left a shard"
cat "$run"/sweep/drivers/*.log
test -d "$run/killed"
echo "== submitted again: what is missing is done"
submit
until_holds 120 finished || { squeue; exit 1; }
cat "$run"/sweep/drivers/slurm-merge-*.log | tail -n 2
same_bytes
