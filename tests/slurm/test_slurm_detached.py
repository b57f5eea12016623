"""utils/slurm.py on a real Slurm: jobs that nobody waits for, and those that depend on them."""

from __future__ import annotations

from helpers.slurm_calls import Recipe, detach, wait_for

# ---- detached


def test_a_later_stage_waits_for_an_earlier_and_status_follows_from_elsewhere(recipe, cluster):
    wait = "touch on.JOB; while [[ ! -e go ]]; do sleep 0.1; done; echo row > row.JOB"
    first = detach(recipe, "JOB=1:2", "exp/log/decode.JOB.log", "bash", "-c", wait)
    second = detach(recipe, "--depend", first, "exp/log/score.log", "bash", "-c", "cat row.1 row.2 > table")
    wait_for(lambda: (recipe.folder / "on.1").exists() and (recipe.folder / "on.2").exists())
    wait_for(lambda: "pending: None" not in recipe("status", "exp").stdout)  # the scheduler has yet to say why
    result = recipe("status", "exp")
    assert result.returncode == 0
    assert f"exp/log/decode.JOB.log: job {first}: 2 running\n  1-2 running on" in result.stdout
    assert f"exp/log/score.log: job {second}: 1 pending\n  1 pending: Dependency\n" in result.stdout
    (recipe.folder / "go").touch()
    wait_for(lambda: f"job {second}: 1 done" in recipe("status").stdout)
    assert recipe.read("table") == "row\nrow\n"
    assert f"job {first}: 2 done" in recipe("status", "exp/log").stdout


def test_what_depends_on_a_failed_job_is_not_left_hanging(recipe, cluster):
    first = detach(recipe, "JOB=1:2", "log/decode.JOB.log", "bash", "-c", "sleep 1; echo no rows; exit JOB")
    second = detach(recipe, "--depend", first, "log/score.log", "touch", "ran")
    result = wait_for(lambda: (found := recipe("status")).stdout.count("failed:") == 3 and found)
    assert f"job 2 ({first}_2 on" in result.stdout
    assert "failed: exit code 2; log: log/decode.2.log, which ends:\n    no rows\n" in result.stdout
    assert f"the job ({second}_1" in result.stdout
    assert "DependencyNeverSatisfied" in result.stdout
    wait_for(lambda: cluster.call("squeue", "-h", "-j", second) == "")
    assert not (recipe.folder / "ran").exists()


def test_an_array_that_is_cancelled_before_it_starts(recipe, cluster):
    (recipe.folder / "slurm.conf").write_text("option held=* --hold\n")
    number = detach(recipe, "--config", "slurm.conf", "--held", "yes", "JOB=1:2", "x.JOB.log", "touch", "ran")
    assert "1-2 pending: JobHeldUser" in recipe("status").stdout
    cluster.call("scancel", f"{number}_1", f"{number}_2")
    result = recipe("status")
    assert result.returncode == 1
    assert f"job 2 ({number}_2) failed: Slurm says CANCELLED" in result.stdout


def test_status_counts_rows(recipe):
    count = """bash -c 'echo "$(cat rows.* | wc -l)/2 rows"'"""
    script = "[[ JOB == 2 ]] || echo row > rows.JOB; touch on.JOB; while [[ ! -e go ]]; do sleep 0.1; done"
    first = detach(recipe, "--progress-command", count, "JOB=1:2", "log/x.JOB.log", "bash", "-c", script)
    wait_for(lambda: (recipe.folder / "on.1").exists() and (recipe.folder / "on.2").exists())
    elsewhere = recipe.folder / "log"
    result = Recipe(elsewhere, recipe.tool, recipe.env)("status")
    assert (result.returncode, f"job {first}: 2 running, 1/2 rows\n" in result.stdout) == (0, True), result.stdout
    (recipe.folder / "go").touch()
    result = wait_for(lambda: (found := recipe("status")).stdout.count("2 done") and found)
    assert result.returncode == 1
    assert f"job {first}: 2 done, but only 1/2 rows: " in result.stdout
    (recipe.folder / "rows.2").write_text("row\n")
    result = recipe("status")
    assert (result.returncode, result.stdout) == (0, f"log/x.JOB.log: job {first}: 2 done, 2/2 rows\n")
