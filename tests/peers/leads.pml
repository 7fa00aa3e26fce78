/* The machines Kswapd and Queue of tests/leads_toys.py, for Spin's LTL under weak fairness (pan -a -f).
 *
 * Spin's fairness is for processes: each fair action, with its arguments, is a process of its own. An action that is
 * not fair is one of a process that may also idle, for ever. An action that stops does so when its process says so.
 */
#ifdef KSWAPD
byte level = 3;
bool awake, stopped;

active proctype Kswapd() {
    do
    :: atomic { awake -> if :: level >= 2 -> awake = 0 :: else -> level++ fi }
    od
}

active proctype Wake() {
    do
    :: atomic { !awake && level < 2 -> awake = 1 }
    :: true -> true
    od
}

active proctype Alloc() {
    do
    :: atomic { level > 0 -> level-- }
    :: true -> true
    :: stopped = 1; break
    od
}

ltl sleeps { [] (awake -> <> !awake) }
ltl stops { <> stopped -> [] (awake -> <> !awake) }
#else
#define TOKENS 3
#define NONE 255
bool waiting[TOKENS];
byte after[TOKENS] = NONE;
byte last = NONE, holder = NONE;

proctype Want(byte token) {
    do
    :: atomic {
        !waiting[token] && holder != token -> waiting[token] = 1
#ifdef QUEUED
        ; after[token] = last; last = token
#endif
       }
    :: true -> true
    od
}

proctype Take(byte token) {
    byte other;
    do
    :: atomic {
        waiting[token] && holder == NONE && after[token] == NONE -> waiting[token] = 0;
#ifdef HELD
        holder = token;
#endif
        if :: last == token -> last = NONE :: else fi;
        other = 0;
        do
        :: other < TOKENS -> if :: after[other] == token -> after[other] = NONE :: else fi; other++
        :: else -> other = 0; break
        od
       }
    od
}

proctype Release() {
    do
    :: atomic { holder != NONE -> holder = NONE }
    od
}

init {
    atomic {
        run Release();
        run Want(0); run Want(1); run Want(2);
        run Take(0); run Take(1); run Take(2)
    }
}

ltl served { [] (waiting[0] -> <> !waiting[0]) }
#endif
