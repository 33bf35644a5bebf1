package scheduler

// mutants are the broken variants by name, with the mix of faults that aims at them.
var mutants = map[string]struct {
	broken mutation
	mix    string
}{
	"NoTail":           {noTail, "storm"},
	"NoShortWait":      {noShortWait, "storm"},
	"GrantUncommitted": {grantUncommitted, "elections"},
	"RecvLease":        {recvLease, "lags"},
	"NoExpiry":         {noExpiry, "storm"},
	"NoNotBefore":      {noNotBefore, "storm"},
	"DupReturn":        {dupReturn, "storm"},
	"WallClock":        {wallClock, "storm"},
	"ReleaseAtGrant":   {releaseAtGrant, "storm"},
	"NoDrift":          {noDrift, "storm"},
	"OpenForever":      {openForever, "elections"},
	"ClockMax":         {clockMax, "restarts"},
	"NoMax":            {noMax, "freezes"},
	"NoFence":          {noFence, "freezes"},
	"NoFenceNoMax":     {noFenceNoMax, "freezes"},
	"SlotsAtOnce":      {slotsAtOnce, "storm"},
	"SlotRecvLease":    {slotRecvLease, "cuts"},
	"ForceEarly":       {forceEarly, "cuts"},
	"LostHistory":      {lostHistory, "storm"},
	"PartsAtOnce":      {partsAtOnce, "storm"},
}
