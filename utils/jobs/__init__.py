"""What run.py, slurm.py and the other scripts beside this package share. It needs Python alone, and no installation.

words      the words of a call: JOB=1:8, the log, the command
logs       what a log begins and ends with
screen     messages, and the line of progress
progress   what --progress-command says
processes  commands that end with all they have started

local      jobs of this machine (run.py)
gpus       which GPUs they may use

settings   slurm.conf: options of a call become options of sbatch (slurm.py)
script     the batch script of an array
call       the command line, and the submission
array      one call's files, and the state of its jobs
controller what Slurm's controller says and does
watch      following an array to its end
status     what has become of arrays that nobody follows
"""
