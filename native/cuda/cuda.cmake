# The CUDA library: `vantage_cuda` for GPUs, `vantage_cuda_emulated` for tests without one. Both are opened at run time by the addon.

set(VANTAGE_CUDA_RELEASE_ARCHITECTURES 75 80 86 89 90 100 120)

set(prelude ${CMAKE_CURRENT_BINARY_DIR}/cuda_prelude.cpp)
set(prelude_files)
foreach(file IN LISTS cuda_prelude)
  list(APPEND prelude_files ${CMAKE_CURRENT_SOURCE_DIR}/${file})
endforeach()
add_custom_command(OUTPUT ${prelude} DEPENDS ${prelude_files} native/cuda/embed.cmake VERBATIM
  COMMAND ${CMAKE_COMMAND} "-DFILES=${prelude_files}" -DOUTPUT=${prelude} -P ${CMAKE_CURRENT_SOURCE_DIR}/native/cuda/embed.cmake)

# Everything but the kernels is plain C++ and the same in both.
function(vantage_cuda_library name)
  add_library(${name} SHARED ${ARGN} ${prelude})
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${flags}>)
  target_link_options(${name} PRIVATE -Wl,-z,nodelete)
  target_link_libraries(${name} PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
endfunction()

if(NOT VANTAGE_CUDA STREQUAL "OFF")
  find_program(VANTAGE_NVCC nvcc PATHS /usr/local/cuda/bin /opt/cuda/bin ENV CUDA_HOME ENV CUDA_PATH PATH_SUFFIXES bin)
  if(VANTAGE_NVCC AND NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${VANTAGE_NVCC})
  endif()
  if(VANTAGE_CUDA STREQUAL "AUTO")
    # An nvcc that does not work with this compiler is none.
    include(CheckLanguage)
    check_language(CUDA)
  endif()
  if(CMAKE_CUDA_COMPILER)
    if(NOT VANTAGE_CUDA_ARCHITECTURES)
      # One architecture: that of the GPU in this machine, or Hopper.
      execute_process(COMMAND nvidia-smi --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE found ERROR_QUIET
        OUTPUT_STRIP_TRAILING_WHITESPACE)
      if(found MATCHES "^([0-9]+)\\.([0-9])")
        set(architectures "${CMAKE_MATCH_1}${CMAKE_MATCH_2}-real")
      else()
        set(architectures "90-real")
      endif()
    elseif(VANTAGE_CUDA_ARCHITECTURES STREQUAL "release")
      list(TRANSFORM VANTAGE_CUDA_RELEASE_ARCHITECTURES APPEND "-real" OUTPUT_VARIABLE architectures)
      list(GET VANTAGE_CUDA_RELEASE_ARCHITECTURES -1 newest)
      list(APPEND architectures "${newest}-virtual")  # PTX, which the driver compiles for what comes later
    elseif(VANTAGE_CUDA_ARCHITECTURES STREQUAL "check")
      # Machine code for the same ones, made of one PTX where the sources do not tell them apart: __CUDA_ARCH__ is compared with 800 and 900 (test/repository.test.ts).
      set(architectures OFF)
      foreach(architecture IN LISTS VANTAGE_CUDA_RELEASE_ARCHITECTURES)
        foreach(told_apart 75 80 90)
          if(NOT architecture LESS told_apart)
            set(virtual ${told_apart})
          endif()
        endforeach()
        list(APPEND generated "-gencode=arch=compute_${virtual},code=sm_${architecture}")
      endforeach()
    else()
      set(architectures ${VANTAGE_CUDA_ARCHITECTURES})
    endif()
    set(CMAKE_CUDA_ARCHITECTURES ${architectures})
    enable_language(CUDA)
    if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # older CMakes do not know how nvcc is told
      set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
      set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
    endif()
    vantage_cuda_library(vantage_cuda ${cuda_sources} ${cuda_host_sources} native/cuda/compile.cpp)
    target_compile_options(vantage_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr -Xcompiler=-fvisibility=hidden>
      $<$<COMPILE_LANGUAGE:CUDA>:${generated}>)
    # The interpreter rounds sums of products as code that is generated at run time does: both ways of running a program give the same bits.
    set_source_files_properties(native/cuda/interpreter.cu PROPERTIES COMPILE_OPTIONS --fmad=false)
    target_include_directories(vantage_cuda PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
    set_target_properties(vantage_cuda PROPERTIES CUDA_RUNTIME_LIBRARY Static EXCLUDE_FROM_ALL ON)
    vantage_portable(vantage_cuda vantage_cuda_library)
  elseif(VANTAGE_CUDA STREQUAL "ON")
    message(FATAL_ERROR "VANTAGE_CUDA=ON: nvcc was not found. Install the CUDA toolkit, or set VANTAGE_NVCC to its path.")
  endif()
endif()

if(VANTAGE_TESTS AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  # A source has one language in a folder: each kernel file is compiled through a file that includes it.
  set(emulated)
  foreach(source IN LISTS cuda_sources)
    get_filename_component(base ${source} NAME_WE)
    set(wrapper ${CMAKE_CURRENT_BINARY_DIR}/cuda_emulated/${base}.cpp)
    file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"@CMAKE_CURRENT_SOURCE_DIR@/@source@\"\n" @ONLY)
    list(APPEND emulated ${wrapper})
  endforeach()
  vantage_cuda_library(vantage_cuda_emulated ${emulated} ${cuda_host_sources} native/test/cuda_emulator/compile.cpp
    native/test/cuda_emulator/cuda_emulator.cpp native/test/cuda_emulator/cuda_runtime.cpp)
  target_compile_definitions(vantage_cuda_emulated PRIVATE VANTAGE_CUDA_EMULATED VANTAGE_EMULATOR_COMPILER="${CMAKE_CXX_COMPILER}"
    VANTAGE_EMULATOR_HEADER="${CMAKE_CURRENT_SOURCE_DIR}/native/test/cuda_emulator/cuda_emulator.h")
  # Programs that are compiled at run time find the emulation here.
  set_source_files_properties(native/test/cuda_emulator/cuda_emulator.cpp native/test/cuda_emulator/cuda_runtime.cpp PROPERTIES COMPILE_OPTIONS -fvisibility=default)
  target_compile_options(vantage_cuda_emulated PRIVATE -O2 -ffp-contract=off -fwrapv -fno-strict-aliasing -Wno-unused-parameter -Wno-unknown-pragmas)
  target_link_options(vantage_cuda_emulated PRIVATE ${link_flags})
  set_target_properties(vantage_cuda_emulated PROPERTIES EXCLUDE_FROM_ALL ON)
endif()
