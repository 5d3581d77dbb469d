#!/bin/bash
# The lines of the batch script around the command that starts the worker. job_script.py takes the
# sections from here, replaces the words in __...__ and drops these comments; submitit writes the rest.
# set -u is left out: the activation scripts of modules and conda read variables that nobody set.

#: section setup, before the site's own lines
# An element is named ARRAY_INDEX: the raw id of one of them is that of the whole array, and a
# requeue of it would requeue all.
element=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}
export KDBATCH_JOB="${element:-$SLURM_JOB_ID}"
ended=__FOLDER__/"$KDBATCH_JOB.ended"  # how each start of this job ended, a line each
trap 'rc=$?; [ "$rc" -eq 0 ] || echo "${SLURM_RESTART_COUNT:-0} $rc __SETUP_FAILED__" >>"$ended"' EXIT
set -eo pipefail

#: section rendezvous, where several processes train one run: the address at which they connect
# sed reads to the end, as head would break the pipe; a greeting is no name of a host. The assignment stands alone, as export would
# hide its failure from set -e. The port is the job's own, below those that Linux hands out by
# itself, and another one at the next start, as this one may have been taken.
MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -nE '/^[[:alnum:]._-]+$/p' | sed -n 1p)"
export MASTER_ADDR
export MASTER_PORT="$((10000 + (SLURM_JOB_ID + 997 * ${SLURM_RESTART_COUNT:-0}) % 20000))"

#: section start, what the worker is given about its start (Start in vocab/attempts/start.py)
set +e +o pipefail
trap - EXIT
export KDBATCH_ENDS_AT="${SLURM_JOB_END_TIME:-$(($(date +%s) + __LIMIT_SECONDS__))}"
export KDBATCH_SIGNAL_SECONDS=__SIGNAL_SECONDS__
__EXPORT_IMAGE_HASH__
export KDBATCH_RESTART="${SLURM_RESTART_COUNT:-0}"
if [ "$KDBATCH_RESTART" -gt 0 ]; then
  # shellcheck disable=SC2155  # a file or an accounting that is missing means an empty variable
  export KDBATCH_EXITS="$(tr '\n' ';' 2>/dev/null <"$ended")"
  # The last state that the accounting has of an earlier start of this job, in one word: other
  # words, columns and bytes that sacct prints are left out.
  # shellcheck disable=SC2155
  export KDBATCH_LAST_STATE="$(timeout 30 sacct --duplicates --allocations --noheader --parsable2 --jobs="$KDBATCH_JOB" --format=State 2>/dev/null | LC_ALL=C grep -aoE '^[A-Z_]{4,}\b' | grep -vE 'RUNNING|PENDING|COMPLETING|CONFIGURING' | tail -n 1)"
fi

#: section steps, where several runs share the job, each as a step of srun. Its exit code is the
# largest of 0, a run is done; 1, it has ended otherwise; 85, it may go on. Files of a run are named by its place among them. One
# that is over, as its last line says, is not started again with the others.
start_runs() {
  local pids=() pid code worst=0
  for place in __PLACES__; do
    ended=__FOLDER__/"$KDBATCH_JOB.$place.ended"
    [ -e "${ended%.ended}.over" ] || { start_run "$@" 2>>"${ended%.ended}_0_log.err" & pids+=("$!"); }
  done
  for pid in "${pids[@]}"; do wait "$pid"; code=$?; [ "$code" -le "$worst" ] || worst=$code; done
  return "$worst"
}
start_run() {
  export KDBATCH_PLACE=$place
  # the processes of each run meet at a port of their own
  [ -z "$MASTER_PORT" ] || export MASTER_PORT="$((MASTER_PORT + place))"
  # shellcheck disable=SC2155
  [ "$KDBATCH_RESTART" -eq 0 ] || export KDBATCH_EXITS="$(tr '\n' ';' 2>/dev/null <"$ended")"
  srun __STEP_OPTIONS__ --job-name="__STEP_NAME__-$place" --output="${ended%.ended}_%t_log.out" --error="${ended%.ended}_%t_log.err" "$@"
  __TEARDOWN__
  [ -z "$again" ] || [ -e "${ended%.ended}.over" ] || return 85  # there is one if it was cancelled
  : >"${ended%.ended}.over"
  [ "$rc" -eq 0 ]
}

#: section teardown, after the worker: notes how it ended, and whether another start may help
rc=$? again=
if [ "$rc" -ne 0 ]; then
  # srun ends with 1 after running out of memory. That would only happen again: no limit allows it.
  # shellcheck disable=SC2015  # all three are conditions
  oom=; [ "$rc" -eq 1 ] || [ "$rc" -gt 128 ] && grep -qsi "oom.\?kill" "${ended%.ended}"_*_log.err && oom=" __OUT_OF_MEMORY__"
  echo "${SLURM_RESTART_COUNT:-0} $rc$oom" >>"$ended"
  times=$(grep -c " $rc$oom\$" "$ended")
  case "$rc$oom" in
    __EXIT_CODES__) limit=0 ;;
  esac
  # 0 where the disk is too full for the line above: then nothing would limit the starts.
  [ "${times:-0}" -gt 0 ] && [ "$times" -le "$limit" ] && again=1
fi

#: section steps_teardown, after the runs of a job
rc=$? again=
[ "$rc" -ne 85 ] || again=1

#: section requeue, at the end: queues the job again
[ -z "$again" ] || for pause in 0 5 20 60; do  # a controller that is busy or restarting may answer later
  sleep "$pause"; scontrol requeue "$KDBATCH_JOB" && sleep 60 && break  # until the requeue ends this script
done
# This is the script's last command, so it must hand on the exit code.
exit "$rc"
