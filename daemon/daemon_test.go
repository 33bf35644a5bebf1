package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

func TestMain(m *testing.M) {
	// The lock test needs another process: this program, started with a folder.
	if dir := os.Getenv("DAEMON_TEST_HOLD"); dir != "" {
		f, err := OpenFolder(dir, Standalone)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until the test closes it
		_ = f.Close()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestFolderLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	hold := exec.Command(os.Args[0])
	hold.Env = append(os.Environ(), "DAEMON_TEST_HOLD="+dir)
	in, err := hold.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := hold.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hold.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, err := out.Read(buf); err != nil || string(buf[:n]) != "held\n" {
		t.Fatalf("%q %v", buf[:n], err)
	}
	_, err = OpenFolder(dir, Standalone)
	want := fmt.Sprintf("data folder %s is in use by process %d", dir, hold.Process.Pid)
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	in.Close()
	if err := hold.Wait(); err != nil {
		t.Error(err)
	}

	f, err := OpenFolder(dir, Standalone)
	if err != nil {
		t.Fatal(err)
	}
	// flock is per open file, so a second time in one process is refused too.
	if _, err := OpenFolder(dir, Standalone); err == nil || !strings.Contains(err.Error(), fmt.Sprint("in use by process ", os.Getpid())) {
		t.Errorf("second time: %v", err)
	}
	if n, err := f.QueueBytes(); err != nil || n <= 0 {
		t.Errorf("room: %d %v", n, err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}

	_, err = OpenFolder(dir, Cluster)
	want = "data folder " + dir + " was made by a node on its own, and JetStream would delete its queue in a cluster: give the cluster's node a new data folder, and when the cluster runs move what is in this one with `tarishi migrate --from " + dir + "`"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	// A refusal gives the lock back.
	if f, err = OpenFolder(dir, Standalone); err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestFolderErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenFolder(file, Standalone)
	if want := "cannot make the data folder " + file + ": not a directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := os.Mkdir(filepath.Join(dir, "lock"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = OpenFolder(dir, Standalone)
	if want := "cannot write to the data folder " + dir + ": is a directory"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestSignals(t *testing.T) {
	for _, n := range []int{0, 1, 2} {
		synctest.Test(t, func(t *testing.T) {
			ch, exits := make(chan os.Signal, 2), make(chan int, 1)
			ctx, stop := signalContext(t.Context(), ch, func(code int) { exits <- code })
			for range n {
				ch <- syscall.SIGTERM
			}
			synctest.Wait()
			if draining := ctx.Err() != nil; draining != (n > 0) {
				t.Errorf("%d signals: draining %v", n, draining)
			}
			if exited := len(exits) == 1 && <-exits == 1; exited != (n > 1) {
				t.Errorf("%d signals: exited %v", n, exited)
			}
			stop()
			stop()
			if ctx.Err() == nil {
				t.Error("stop leaves the context open")
			}
		})
	}
	ctx, stop := Signals(t.Context(), func(int) { t.Error("exit") })
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	stop()
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	secret := Secret("hunter2")
	for _, format := range []string{"text", "json"} {
		b.Reset()
		log := Log{Level: "warn", Format: format}.Logger(&b)
		log.Info("quiet")
		log.Warn("loud", "password", secret, "in", struct{ P Secret }{secret}, "any", fmt.Sprintf("%v %s %+v %#v %q", secret, secret, secret, secret, secret))
		if s := b.String(); strings.Contains(s, "hunter2") || strings.Contains(s, "quiet") || !strings.Contains(s, "loud") || !strings.Contains(s, "[hidden]") {
			t.Errorf("%s: %s", format, s)
		}
		if json.Valid(b.Bytes()) != (format == "json") {
			t.Errorf("%s: %s", format, b.String())
		}
	}
	if j, err := json.Marshal(secret); err != nil || string(j) != `"[hidden]"` {
		t.Errorf("%s %v", j, err)
	}
	if !(Log{Level: "debug"}).Logger(&b).Enabled(t.Context(), slog.LevelDebug) {
		t.Error("debug is off")
	}
}

func TestMachineName(t *testing.T) {
	const hosts = "127.0.0.1 localhost\n# 192.0.2.1 commented.test mx1\n192.0.2.2 mx1.example.net mx1 mail # mx2\n\n::1\n"
	for _, x := range []struct{ host, want string }{
		{"mx9.test", "mx9.test"}, {"mx9.test.", "mx9.test"}, {"mx1", "mx1.example.net"}, {"MAIL", "mx1.example.net"}, {"mx2", "mx2"}, {"localhost", "localhost"}, {"a_b", "localhost"}, {"", "localhost"},
	} {
		if got := fullName(x.host, hosts); got != x.want {
			t.Errorf("%q is %q, want %q", x.host, got, x.want)
		}
	}
	for in, want := range map[string]string{"127.0.0.1": "127.0.0.1:53", "::1": "[::1]:53", "[::1]:5353": "[::1]:5353", "1.2.3.4:5": "1.2.3.4:5"} {
		if got := withPort(in, "53"); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}
