# A library that a release ships runs on systems older than the one it is built on: with glibc from 2.28 on, whatever the system's libstdc++. Compiling differs in
# nothing, so that every build is what a release is.
#   - libstdc++ is linked in, and kept to itself: only what the loader asks for is exported.
#   - Functions of glibc that have got a new version, or another library, since are asked for as they were: stubs under the libraries' old names stand before the
#     real ones, and libm, which still has its name, is called through libm.cpp.
set(VANTAGE_PORTABLE "AUTO" CACHE STRING "Link for older systems too: ON, OFF, or AUTO (on Linux with glibc on x86-64, without sanitizers)")

set(portable ${VANTAGE_PORTABLE})
if(portable STREQUAL "AUTO")
  set(portable OFF)
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$" AND NOT VANTAGE_SANITIZE)
    include(CheckCXXSourceCompiles)
    set(CMAKE_REQUIRED_LINK_OPTIONS -static-libstdc++)
    check_cxx_source_compiles("#include <string>\n#ifndef __GLIBC__\n#error\n#endif\nint main(int n, char** v) { return std::string(v[0]).size() == n; }" VANTAGE_CAN_BE_PORTABLE)
    unset(CMAKE_REQUIRED_LINK_OPTIONS)
    if(VANTAGE_CAN_BE_PORTABLE)
      set(portable ON)
    endif()
  endif()
endif()

# vantage_glibc_stub(file (version name...)...): an empty library under the name of one of glibc's.
set(stubs)
function(vantage_glibc_stub file)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/portable/${file}.cpp)
  set(text)
  set(map)
  foreach(word IN LISTS ARGN)
    if(NOT word MATCHES "^GLIBC_")
      string(APPEND map " ${word};")
      string(APPEND text "asm(\".globl ${word}\\n.type ${word}, @function\\n${word}:\");\n")
    elseif(map)
      string(APPEND map " };\n${word} { global:")
    else()
      set(map "${word} { global:")
    endif()
  endforeach()
  file(CONFIGURE OUTPUT ${source} CONTENT "${text}" @ONLY)
  file(CONFIGURE OUTPUT ${source}.map CONTENT "${map} };\n" @ONLY)
  string(MAKE_C_IDENTIFIER stub_${file} target)
  add_library(${target} SHARED EXCLUDE_FROM_ALL ${source})
  set_target_properties(${target} PROPERTIES NO_SONAME ON LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/portable)
  target_link_options(${target} PRIVATE -nostdlib -Wl,-soname,${file} -Wl,--version-script=${source}.map)
  set(stubs ${stubs} ${target} PARENT_SCOPE)
endfunction()

if(portable)
  vantage_glibc_stub(libdl.so.2 GLIBC_2.2.5 dladdr dlclose dlerror dlopen dlsym dlvsym GLIBC_2.3.4 dlmopen)
  vantage_glibc_stub(librt.so.1 GLIBC_2.2.5 shm_open shm_unlink)
  vantage_glibc_stub(libpthread.so.0 GLIBC_2.2.5 pthread_condattr_setpshared pthread_create pthread_detach pthread_getspecific pthread_join pthread_key_create
    pthread_key_delete pthread_kill pthread_mutex_trylock pthread_mutexattr_destroy pthread_mutexattr_init pthread_mutexattr_setpshared pthread_mutexattr_settype
    pthread_once pthread_rwlock_destroy pthread_rwlock_init pthread_rwlock_rdlock pthread_rwlock_timedrdlock pthread_rwlock_timedwrlock pthread_rwlock_tryrdlock
    pthread_rwlock_trywrlock pthread_rwlock_unlock pthread_rwlock_wrlock pthread_rwlockattr_destroy pthread_rwlockattr_init pthread_rwlockattr_setpshared
    pthread_setspecific pthread_spin_destroy pthread_spin_init pthread_spin_lock pthread_spin_trylock pthread_spin_unlock sem_destroy sem_init sem_post
    sem_timedwait sem_trywait sem_wait)
endif()

# vantage_portable(target name...): the library exports these names only, and runs on older systems.
function(vantage_portable target)
  if(APPLE)
    return()
  endif()
  list(JOIN ARGN "; " names)
  set(map ${CMAKE_CURRENT_BINARY_DIR}/portable/${target}.map)
  file(CONFIGURE OUTPUT ${map} CONTENT "{ global: ${names}; local: *; };\n" @ONLY)
  target_link_options(${target} PRIVATE -Wl,--version-script=${map})
  if(portable)
    target_sources(${target} PRIVATE native/portable/single_threaded.cpp native/portable/libm.cpp)
    target_link_options(${target} PRIVATE -static-libstdc++ -Wl,--gc-sections -Wl,--wrap=exp,--wrap=log,--wrap=log2,--wrap=pow)
    # Needed or not yet: what is linked after them, libstdc++ and CUDA's runtime, asks for them too.
    target_link_libraries(${target} PRIVATE -Wl,--push-state,--no-as-needed ${stubs} -Wl,--pop-state)
    # CMake would leave the folder of the stubs in the library.
    set_target_properties(${target} PROPERTIES SKIP_BUILD_RPATH ON)
  endif()
endfunction()
