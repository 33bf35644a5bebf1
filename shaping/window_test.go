package shaping

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseWindows(t *testing.T) {
	for text, want := range map[string]string{
		"1000/1h":            "1000/1h",
		"20/s":               "20/1s",
		" 100 / min ":        "100/1m",
		"1000/1h,20/1s":      "1000/1h, 20/1s",
		"5/2days":            "5/2d",
		"5/1d12h":            "5/1d12h",
		"0/1h":               "0/1h",
		"7/90s":              "7/1m30s",
		"1000000000/30d":     "1000000000/30d",
		"3/1500ms":           "3/1s500ms",
		"10/hour, 100/1 day": "", // no spaces inside a length
	} {
		ws, err := ParseWindows(text)
		if want == "" {
			if err == nil {
				t.Errorf("%q passes as %v", text, ws)
			}
			continue
		}
		if err != nil || FormatWindows(ws) != want {
			t.Errorf("%q: %v, %v; want %s", text, ws, err, want)
		}
	}
}

func TestBadWindowsSayWhy(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "has no window",
		"1000":                         "such as 1000/1h",
		"many/1h":                      "whole number",
		"1.5/1h":                       "whole number",
		"99999999999999999999/1h":      "whole number",
		"-1/1h":                        "negative",
		"1000/":                        "no length",
		"1000/1":                       "no unit",
		"1000/fortnight":               "no unit of time",
		"1000/1fortnight":              "no unit of time",
		"1000/1hh":                     "no unit of time",
		"1000/0s":                      "at least 1s",
		"1000/500ms":                   "at least 1s",
		"1000/31d":                     "at most 30d",
		"1000/99999999999999999999d":   "at most 30d",
		"1000/2147483647d":             "at most 30d",
		"1000/-1h":                     "no unit",
		"2000000000/1h":                "at most 1000000000",
		"10/1m,20/60s":                 "same window",
		"10/1h,":                       "has no window",
		"10/1h/2":                      "no unit",
		"10/1h30":                      "no unit",
		"10/h30m":                      "", // an hour and thirty minutes
		"10/30mh":                      "no unit of time",
		strings.Repeat("9", 400) + "/": "whole number",
	} {
		_, err := ParseWindows(text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%.40q: %v; want %q", text, err, want)
		}
	}
}

func TestLengthsSurvivePrinting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, int64(MaxWindow)).Draw(t, "d"))
		got, err := ParseLength(FormatLength(d))
		if err != nil || got != d {
			t.Fatalf("%d prints as %s, which reads as %d, %v", d, FormatLength(d), got, err)
		}
	})
}

func TestWindowJSON(t *testing.T) {
	for in, want := range map[string]string{
		`"1000/1h"`:                    `{"max":1000,"window":"1h"}`,
		`{"max":20,"window":"1s"}`:     `{"max":20,"window":"1s"}`,
		`{"max":0,"window":"1d12h"}`:   `{"max":0,"window":"1d12h"}`,
		`{"window":"1h"}`:              "",
		`{"max":1}`:                    "",
		`7`:                            "",
		`"7"`:                          "",
		`{"max":"ten","window":"1h"}`:  "",
		`{"max":10,"window":"1lunar"}`: "",
	} {
		var w Window
		err := json.Unmarshal([]byte(in), &w)
		if want == "" {
			if err == nil {
				t.Errorf("%s passes as %v", in, w)
			}
			continue
		}
		got, _ := json.Marshal(w)
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}

func FuzzParseWindows(f *testing.F) {
	for _, s := range []string{"1000/1h,20/1s", "5/1d12h", "/", "1/ms", "9/9999999999999h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ws, err := ParseWindows(s)
		if err != nil {
			return
		}
		again, err := ParseWindows(FormatWindows(ws))
		if err != nil || FormatWindows(again) != FormatWindows(ws) {
			t.Errorf("%q reads as %v and then as %v, %v", s, ws, again, err)
		}
	})
}
